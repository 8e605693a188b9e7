//! Rows of a file, one at a time: JSONL, a JSON array or CSV, plain, gzip or zstd; or Parquet.
//!
//! Format and compression are told by content, never by name: gzip (RFC 1952), zstd (RFC 8878) and Parquet by their magic
//! bytes, an array by its bracket and JSONL by its brace; any other text is CSV. A byte order mark and blank lines are
//! skipped. Memory is that of one row, or of one batch of a Parquet column.

mod csv;
mod parquet;
mod zstd;

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use serde_json::{Map, Value};

use self::csv::Cells;
use self::parquet::Table;
use self::zstd::Frames;
use crate::DataError;

/// The rows of a file, each with its number: the line in JSONL, the element in a JSON array, the row in Parquet and
/// behind the header of CSV, all from 1.
///
/// Ends after the first error.
pub struct Rows {
    path: PathBuf,
    body: Body,
    ended: bool,
}

/// Where a row stands. Displays as `rows.jsonl, line 3`.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file.
    pub path: &'a Path,
    /// `line`, `element` or `row`.
    pub unit: &'static str,
    /// Number of the line, element or row, from 1.
    pub number: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {} {}", self.path.display(), self.unit, self.number)
    }
}

impl Rows {
    /// Opens `path` and looks at its first bytes.
    ///
    /// # Errors
    /// [`DataError::Read`], [`DataError::Truncated`], [`DataError::Parquet`] and [`DataError::Csv`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let start = || {
            let (head, file) = split_head(BufReader::new(File::open(path)?), parquet::MAGIC.len())?;
            if head == parquet::MAGIC {
                // Its end is read first; all other layouts may come through a pipe.
                let mut file = file.into_inner();
                file.rewind()?;
                return Ok(Ok(file));
            }
            let mut source = Source { inner: decoded(head, file)?, line: 1 };
            let first = source.skip_blank()?;
            Ok(Err((first, source)))
        };
        let body = match start().map_err(|error| unreadable(path, error))? {
            Err((None | Some(b'{'), source)) => Body::Lines(source),
            Err((Some(b'['), mut source)) => {
                source.inner.consume(1);
                Body::Array { source, elements: 0 }
            }
            Err((Some(_), source)) => Body::Cells(Box::new(Cells::open(path, source.inner)?)),
            Ok(file) => match Table::open(file) {
                Ok(table) => Body::Table(Box::new(table)),
                Err(words) => return Err(DataError::Parquet { path: path.to_owned(), words }),
            },
        };
        Ok(Self { path: path.to_owned(), body, ended: false })
    }

    /// What the numbers of the rows count: `line`, `element` or `row`.
    pub fn unit(&self) -> &'static str {
        match self.body {
            Body::Lines(_) => "line",
            Body::Array { .. } => "element",
            Body::Table(_) | Body::Cells(_) => "row",
        }
    }

    /// The place of row `number`, for messages.
    pub fn place(&self, number: usize) -> Place<'_> {
        Place { path: &self.path, unit: self.unit(), number }
    }

    fn advance(&mut self) -> Result<Option<Row>, DataError> {
        let parsed = match &mut self.body {
            Body::Lines(source) => source.next_line(),
            Body::Array { source, elements } => source.next_element(elements),
            Body::Cells(cells) => return cells.advance(&self.path),
            Body::Table(table) => {
                return table.advance().map_err(|words| DataError::Parquet { path: self.path.clone(), words });
            }
        };
        let (number, value) = match parsed {
            Ok(None) => return Ok(None),
            Ok(Some(row)) => row,
            Err(Fault::Io(error)) => return Err(unreadable(&self.path, error)),
            Err(Fault::Json { line, words }) => {
                let place = Place { path: &self.path, unit: "line", number: line }.to_string();
                return Err(DataError::Json { place, words });
            }
        };
        match value {
            Value::Object(columns) => Ok(Some((number, columns))),
            other => Err(DataError::NotAnObject { place: self.place(number).to_string(), got: name_of(&other) }),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.advance().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

/// The bytes of a file, unpacked if it is gzip or zstd and without a byte order mark: for whoever reads them otherwise
/// than [`Rows`].
///
/// # Errors
/// [`DataError::Read`] and [`DataError::Truncated`].
pub fn decompressed(path: impl AsRef<Path>) -> Result<Box<dyn BufRead + Send>, DataError> {
    let path = path.as_ref();
    let open = || {
        let (head, file) = split_head(BufReader::new(File::open(path)?), parquet::MAGIC.len())?;
        decoded(head, file)
    };
    open().map_err(|error| unreadable(path, error))
}

/// What a JSON value is, in words.
pub(crate) fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The number of a row and its columns.
type Row = (usize, Map<String, Value>);

enum Body {
    Lines(Source),
    Array { source: Source, elements: usize },
    Cells(Box<Cells>),
    Table(Box<Table>),
}

enum Fault {
    Io(io::Error),
    Json { line: usize, words: String },
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Decompressed bytes, with a count of the lines that were read.
struct Source {
    inner: Box<dyn BufRead + Send>,
    line: usize,
}

impl Source {
    /// Skips white space and peeks at the byte behind it; `None` at the end of the file.
    fn skip_blank(&mut self) -> io::Result<Option<u8>> {
        loop {
            let bytes = match self.inner.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let (first, ended) = (bytes.get(blank).copied(), bytes.is_empty());
            self.line += newlines(&bytes[..blank]);
            self.inner.consume(blank);
            if first.is_some() || ended {
                return Ok(first);
            }
        }
    }

    fn next_line(&mut self) -> Result<Option<(usize, Value)>, Fault> {
        if self.skip_blank()?.is_none() {
            return Ok(None);
        }
        let number = self.line;
        let mut line = Vec::new();
        self.inner.read_until(b'\n', &mut line)?;
        self.line += 1;
        // Without its end, so that the parser does not place a missing brace on the line below.
        let value = serde_json::from_slice(line.trim_ascii_end()).map_err(|error| fault(number, error))?;
        Ok(Some((number, value)))
    }

    /// The element after `elements` others, which are counted.
    fn next_element(&mut self, elements: &mut usize) -> Result<Option<(usize, Value)>, Fault> {
        let mut next = self.skip_blank()?;
        if next == Some(b']') {
            self.inner.consume(1);
            return match self.skip_blank()? {
                None => Ok(None),
                Some(_) => Err(self.bad("characters after the end of the array")),
            };
        }
        if *elements > 0 {
            if next != Some(b',') {
                return Err(self.bad("expected `,` or `]` after a row"));
            }
            self.inner.consume(1);
            next = self.skip_blank()?;
        }
        if next.is_none() {
            return Err(self.bad("the array does not end with `]`"));
        }
        // An object is read up to its brace and not a byte further, so the next row starts where this one ended.
        let start = self.line;
        let value = Value::deserialize(&mut serde_json::Deserializer::from_reader(&mut *self))
            .map_err(|error| fault(start, error))?;
        *elements += 1;
        Ok(Some((*elements, value)))
    }

    fn bad(&self, words: &str) -> Fault {
        Fault::Json { line: self.line, words: words.to_owned() }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.line += newlines(&buffer[..count]);
        Ok(count)
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Unpacks gzip and zstd, and drops a byte order mark. `head` are the first four bytes of the file.
fn decoded(head: Vec<u8>, file: BufReader<File>) -> io::Result<Box<dyn BufRead + Send>> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
    let (gzip, frames) = (head.starts_with(&GZIP), head == zstd::MAGIC);
    let file = Cursor::new(head).chain(file);
    let plain: Box<dyn Read + Send> = match (gzip, frames) {
        (true, _) => Box::new(MultiGzDecoder::new(file)),
        (_, true) => Box::new(Frames::new(file)),
        _ => Box::new(file),
    };
    let (head, plain) = split_head(plain, BYTE_ORDER_MARK.len())?;
    let head = if head == BYTE_ORDER_MARK { Vec::new() } else { head };
    Ok(Box::new(BufReader::new(Cursor::new(head).chain(plain))))
}

/// The first `count` bytes, fewer in a shorter file, and the rest.
fn split_head<R: Read>(mut reader: R, count: usize) -> io::Result<(Vec<u8>, R)> {
    let mut head = Vec::new();
    reader.by_ref().take(count as u64).read_to_end(&mut head)?;
    Ok((head, reader))
}

fn unreadable(path: &Path, error: io::Error) -> DataError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::UnexpectedEof => DataError::Truncated { path },
        _ => DataError::Read { path, source: error },
    }
}

/// `start` is the line of the file at which the parser began.
fn fault(start: usize, error: serde_json::Error) -> Fault {
    if error.is_io() {
        return Fault::Io(error.into());
    }
    // The parser counts lines from where it began; the file's own line is given instead.
    let (text, place) = (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
    let words = text.strip_suffix(&place).unwrap_or(&text);
    Fault::Json { line: start + error.line().saturating_sub(1), words: format!("{words} at column {}", error.column()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use tempfile::NamedTempFile;

    use super::*;

    fn file(bytes: &[u8]) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Number and column `a` of each row.
    fn numbers(bytes: &[u8]) -> Vec<(usize, i64)> {
        let rows = Rows::open(file(bytes).path()).unwrap();
        rows.map(|row| row.map(|(number, columns)| (number, columns["a"].as_i64().unwrap())).unwrap()).collect()
    }

    fn refusal(bytes: &[u8]) -> String {
        let file = file(bytes);
        let error = match Rows::open(file.path()) {
            Err(error) => error,
            Ok(mut rows) => {
                let error = rows.find_map(Result::err).unwrap();
                assert!(rows.next().is_none(), "rows go on after an error");
                error
            }
        };
        error.to_string().replace(&file.path().display().to_string(), "FILE")
    }

    #[test]
    fn lines_keep_their_numbers_over_a_byte_order_mark_and_blank_lines() {
        assert_eq!(numbers(b"\xef\xbb\xbf{\"a\":1}\r\n\n  \n{\"a\":2}"), [(1, 1), (4, 2)]);
        assert_eq!(numbers(b"\n\n{\"a\":1}\n"), [(3, 1)]);
    }

    #[test]
    fn an_array_is_numbered_by_element() {
        assert_eq!(numbers(b"[{\"a\":1},{\"a\":2}]"), [(1, 1), (2, 2)]);
        assert_eq!(numbers(b"\xef\xbb\xbf [\n {\n \"a\": 1\n },\n {\"a\": 2}\n]\n\n"), [(1, 1), (2, 2)]);
        assert_eq!(numbers(b"[]"), []);
    }

    #[test]
    fn gzip_is_known_by_content_and_may_have_several_members() {
        let mut packed = gzip(b"{\"a\":1}\n");
        packed.extend(gzip(b"{\"a\":2}\n"));
        assert_eq!(numbers(&packed), [(1, 1), (2, 2)]);
        assert_eq!(numbers(&gzip(b"\xef\xbb\xbf[{\"a\":1}]")), [(1, 1)]);
    }

    #[test]
    fn zstd_is_known_by_content_and_may_have_several_frames() {
        let mut packed = zstd(b"{\"a\":1}\n");
        // A frame to be skipped (RFC 8878, 3.1.2): its magic number, a length of 3, and as many bytes.
        packed.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9]);
        packed.extend(zstd(b"{\"a\":2}\n"));
        assert_eq!(numbers(&packed), [(1, 1), (2, 2)]);
        assert_eq!(numbers(&zstd(b"[{\"a\":1}]")), [(1, 1)]);
        let long: String = (0..20_000).map(|a| format!("{{\"a\":{a}}}\n")).collect();
        assert_eq!(numbers(&zstd(long.as_bytes())).last(), Some(&(20_000, 19_999)));
    }

    #[test]
    fn every_truncation_of_a_zstd_file_is_said_to_be_one() {
        let packed = zstd(b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
        for length in 4..packed.len() {
            let message = refusal(&packed[..length]);
            assert!(message.contains("FILE ends before its compressed stream does"), "{length}: {message}");
        }
    }

    #[test]
    fn an_empty_file_has_no_rows() {
        assert_eq!(numbers(b""), []);
        assert_eq!(numbers(b"\xef\xbb\xbf\n \n"), []);
        assert_eq!(numbers(&gzip(b"")), []);
    }

    #[test]
    fn what_is_not_json_is_named_by_its_line() {
        let check = |bytes: &[u8], parts: &[&str]| {
            let message = refusal(bytes);
            parts.iter().for_each(|part| assert!(message.contains(part), "{part} is not in {message}"));
            assert!(!message.contains('\n'));
        };
        check(b"{\"a\":1}\n\n{\"a\":\n", &["FILE, line 3: not JSON (EOF while parsing a value at column"]);
        check(b"{\"a\":1} {\"a\":2}\n", &["line 1: not JSON (trailing characters"]);
        check(b"{\"a\":\"\xff\"}\n", &["line 1: not JSON (invalid unicode"]);
        check(b"{\"a\":NaN}\n", &["line 1: not JSON"]);
        check(b"{\"a\":1}\n[1]\n", &["FILE, line 2: a row must be an object", "got a list"]);
        check(b"[{\"a\":1},\n{\"a\" 2}]", &["FILE, line 2: not JSON (expected `:`"]);
        check(b"[{\"a\":1},\n7]", &["FILE, element 2: a row must be an object", "got a number"]);
        check(b"[{\"a\":1}\n{\"a\":2}]", &["line 2: not JSON (expected `,` or `]` after a row)"]);
        check(b"[{\"a\":1},\n", &["line 2: not JSON (the array does not end with `]`)"]);
        check(b"[{\"a\":1}] x", &["characters after the end of the array"]);
    }

    #[test]
    fn every_truncation_of_a_gzip_file_is_said_to_be_one() {
        let packed = gzip(b"{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
        for length in 3..packed.len() {
            let message = refusal(&packed[..length]);
            assert!(message.contains("FILE ends before its compressed stream does"), "{length}: {message}");
        }
    }

    #[test]
    fn other_formats_are_unpacked_alike() {
        for bytes in [b"\xef\xbb\xbfa,b\n".to_vec(), gzip(b"a,b\n")] {
            let mut text = String::new();
            decompressed(file(&bytes).path()).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "a,b\n");
        }
        let error = decompressed("no/such/file.csv").err().unwrap().to_string();
        assert!(error.starts_with("cannot read no/such/file.csv: "), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Rows::open("no/such/file.jsonl").err().unwrap().to_string();
        assert!(error.starts_with("cannot read no/such/file.jsonl: "), "{error}");
    }
}
