//! Rows of a Parquet file as JSON objects, a batch of each column at a time.
//!
//! Uncompressed, Snappy and gzip pages are read. Strings, binary that is UTF-8, numbers, booleans, lists, structs and
//! maps keep their form; dates, times and decimals become text. NaN and infinity have no JSON and are refused.

use std::fs::File;

use parquet::basic::{ConvertedType, Type as Physical};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use serde_json::{Map, Number, Value};

/// How a file begins and ends.
pub(super) const MAGIC: [u8; 4] = *b"PAR1";

/// The rows of a Parquet file.
pub(super) struct Table {
    reader: SerializedFileReader<File>,
    groups: usize,
    rows: Option<ReaderIter>,
    number: usize,
}

impl Table {
    pub(super) fn open(file: File) -> Result<Self, String> {
        let reader = SerializedFileReader::new(file).map_err(|error| error.to_string())?;
        // The record reader panics on a type that it does not know, so these are refused before.
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        for column in schema.columns() {
            if !is_known(column.physical_type(), column.converted_type()) {
                let (physical, converted) = (column.physical_type(), column.converted_type());
                let name = column.path().string();
                return Err(format!("column `{name}` is {converted} in {physical}, which is not read; drop it"));
            }
        }
        Ok(Self { reader, groups: 0, rows: None, number: 0 })
    }

    /// The next row with its number, from 1.
    pub(super) fn advance(&mut self) -> Result<Option<super::Row>, String> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                let row = row.map_err(|error| remedy(&error.to_string()))?;
                self.number += 1;
                let number = self.number;
                return object(row).map(|row| Some((number, row))).map_err(|words| format!("row {number}: {words}"));
            }
            if self.groups == self.reader.num_row_groups() {
                return Ok(None);
            }
            let group = self.reader.get_row_group(self.groups).map_err(|error| remedy(&error.to_string()))?;
            let schema = self.reader.metadata().file_metadata().schema_descr_ptr();
            let rows = TreeBuilder::new().as_iter(schema, group.as_ref());
            self.rows = Some(rows.map_err(|error| remedy(&error.to_string()))?);
            self.groups += 1;
        }
    }
}

/// The library names the feature that it was built without; a user wants the remedy.
fn remedy(words: &str) -> String {
    match words.rsplit_once("Disabled feature at compile time: ") {
        Some((_, codec)) => format!("its pages are compressed with {codec}; write it again with Snappy or gzip"),
        None => words.to_owned(),
    }
}

fn is_known(physical: Physical, converted: ConvertedType) -> bool {
    use ConvertedType as C;
    match physical {
        Physical::BOOLEAN | Physical::INT96 | Physical::FLOAT | Physical::DOUBLE => true,
        Physical::INT32 => matches!(
            converted,
            C::NONE
                | C::INT_8
                | C::INT_16
                | C::INT_32
                | C::UINT_8
                | C::UINT_16
                | C::UINT_32
                | C::DATE
                | C::TIME_MILLIS
                | C::DECIMAL
        ),
        Physical::INT64 => matches!(
            converted,
            C::NONE | C::INT_64 | C::UINT_64 | C::TIME_MICROS | C::TIMESTAMP_MILLIS | C::TIMESTAMP_MICROS | C::DECIMAL
        ),
        Physical::BYTE_ARRAY => {
            matches!(converted, C::NONE | C::UTF8 | C::ENUM | C::JSON | C::BSON | C::DECIMAL)
        }
        Physical::FIXED_LEN_BYTE_ARRAY => matches!(converted, C::NONE | C::DECIMAL),
    }
}

fn object(row: Row) -> Result<Map<String, Value>, String> {
    let named = |(name, field): (String, Field)| match value(&field) {
        Ok(value) => Ok((name, value)),
        Err(words) => Err(format!("column `{name}` holds {words}")),
    };
    row.into_columns().into_iter().map(named).collect()
}

fn value(field: &Field) -> Result<Value, String> {
    let float = |number: f64| match Number::from_f64(number) {
        Some(number) => Ok(Value::Number(number)),
        None => Err(format!("{number}, and numbers must be finite")),
    };
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => Value::Bool(*flag),
        Field::Byte(number) => Value::from(*number),
        Field::Short(number) => Value::from(*number),
        Field::Int(number) => Value::from(*number),
        Field::Long(number) => Value::from(*number),
        Field::UByte(number) => Value::from(*number),
        Field::UShort(number) => Value::from(*number),
        Field::UInt(number) => Value::from(*number),
        Field::ULong(number) => Value::from(*number),
        Field::Float16(number) => float(f64::from(*number))?,
        Field::Float(number) => float(f64::from(*number))?,
        Field::Double(number) => float(*number)?,
        Field::Str(text) => Value::String(text.clone()),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => return Err("binary data that is not UTF-8".to_owned()),
        },
        Field::Group(row) => Value::Object(object(row.clone())?),
        Field::ListInternal(list) => Value::Array(list.elements().iter().map(value).collect::<Result<_, _>>()?),
        Field::MapInternal(map) => {
            let mut entries = Map::new();
            for (key, field) in map.entries() {
                let key = match key {
                    Field::Str(text) => text.clone(),
                    other => other.to_string(),
                };
                entries.insert(key, value(field)?);
            }
            Value::Object(entries)
        }
        Field::Decimal(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_) => Value::String(field.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use serde_json::json;
    use tempfile::NamedTempFile;

    use crate::Rows;

    /// A file with one row group for each element of `groups`: prompts, scores and flags.
    fn file(groups: &[(&[&str], &[f64], &[bool])]) -> NamedTempFile {
        let schema = "message rows { required binary prompt (UTF8); required double score; required boolean right; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let file = NamedTempFile::new().unwrap();
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(file.reopen().unwrap(), schema, properties).unwrap();
        for (prompts, scores, flags) in groups {
            let mut group = writer.next_row_group().unwrap();
            let texts: Vec<ByteArray> = prompts.iter().map(|text| ByteArray::from(*text)).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<DoubleType>().write_batch(scores, None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<BoolType>().write_batch(flags, None, None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
        file
    }

    #[test]
    fn rows_of_all_groups_are_numbered_from_one() {
        let file = file(&[(&["a", "é"], &[0.5, 2.0], &[true, false]), (&["c"], &[-1.0], &[true])]);
        let mut rows = Rows::open(file.path()).unwrap();
        assert_eq!(rows.unit(), "row");
        let rows: Vec<_> = rows.by_ref().map(Result::unwrap).map(|(number, row)| (number, json!(row))).collect();
        let expected = [
            (1, json!({"prompt": "a", "score": 0.5, "right": true})),
            (2, json!({"prompt": "é", "score": 2.0, "right": false})),
            (3, json!({"prompt": "c", "score": -1.0, "right": true})),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_number_without_json_is_named_with_its_row() {
        let file = file(&[(&["a", "b"], &[0.5, f64::NAN], &[true, true])]);
        let error = Rows::open(file.path()).unwrap().find_map(Result::err).unwrap().to_string();
        assert!(error.ends_with("row 2: column `score` holds NaN, and numbers must be finite"), "{error}");
    }

    #[test]
    fn a_truncated_file_is_refused() {
        let whole = std::fs::read(file(&[(&["a"], &[0.5], &[true])]).path()).unwrap();
        let cut = NamedTempFile::new().unwrap();
        std::fs::write(cut.path(), &whole[..whole.len() - 5]).unwrap();
        let error = Rows::open(cut.path()).err().unwrap().to_string();
        assert!(error.contains("as Parquet"), "{error}");
    }
}
