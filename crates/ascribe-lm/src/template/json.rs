//! The filter `tojson`: what Python's `json.dumps` writes, with `ensure_ascii=False` unless the template asks otherwise.

use std::io::{Error as IoError, Write};

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::value::to_value;

/// Spaces of one level of indentation that a template may ask for.
const MOST_INDENT: usize = 16;

/// Arguments as in transformers: `ensure_ascii`, `indent`, `separators`, `sort_keys`.
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let fail = |why: String| Error::new(ErrorKind::InvalidOperation, format!("tojson: {why}"));
    let indent: Option<usize> = options.get("indent")?;
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    if indent.is_some_and(|indent| indent > MOST_INDENT) {
        return Err(fail(format!("the indent may be {MOST_INDENT} at most")));
    }
    if value.is_undefined() {
        return Err(fail("the value is not defined".to_owned()));
    }
    let (item, key) = match separators.as_deref() {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some([item, key]) => (item.clone(), key.clone()),
        Some(other) => return Err(fail(format!("separators are two texts, got {}", other.len()))),
    };
    let mut json = to_value(value).map_err(|error| fail(error.to_string()))?;
    if sorted {
        json.sort_all_objects();
    }
    let mut out = Vec::new();
    let python = Python { indent, item, key, ascii, depth: 0, filled: false };
    json.serialize(&mut Serializer::with_formatter(&mut out, python)).map_err(|error| fail(error.to_string()))?;
    Ok(Value::from(String::from_utf8_lossy(&out).into_owned()))
}

struct Python {
    indent: Option<usize>,
    item: String,
    key: String,
    ascii: bool,
    depth: usize,
    /// Whether the innermost list or object has a member.
    filled: bool,
}

impl Python {
    fn open<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> Result<(), IoError> {
        self.depth += 1;
        self.filled = false;
        out.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> Result<(), IoError> {
        self.depth -= 1;
        if self.filled {
            self.new_line(out)?;
        }
        self.filled = true;
        out.write_all(bracket)
    }

    fn member<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> Result<(), IoError> {
        if !first {
            out.write_all(self.item.as_bytes())?;
        }
        self.filled = true;
        self.new_line(out)
    }

    fn new_line<W: ?Sized + Write>(&self, out: &mut W) -> Result<(), IoError> {
        match self.indent {
            Some(indent) => write!(out, "\n{}", " ".repeat(indent * self.depth)),
            None => Ok(()),
        }
    }
}

impl Formatter for Python {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> Result<(), IoError> {
        self.open(out, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> Result<(), IoError> {
        self.close(out, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> Result<(), IoError> {
        self.member(out, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> Result<(), IoError> {
        self.open(out, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> Result<(), IoError> {
        self.close(out, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> Result<(), IoError> {
        self.member(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> Result<(), IoError> {
        out.write_all(self.key.as_bytes())
    }

    /// Python's `repr`: an exponent below 1e-4 and from 1e16 on, with a sign and two digits.
    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> Result<(), IoError> {
        let scientific = format!("{value:e}");
        match scientific.split_once('e').map(|(digits, exponent)| (digits, exponent.parse::<i32>())) {
            Some((digits, Ok(exponent))) if !(-4..16).contains(&exponent) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                write!(out, "{digits}e{sign}{:02}", exponent.abs())
            }
            _ => write!(out, "{value:?}"),
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> Result<(), IoError> {
        if !self.ascii {
            return out.write_all(text.as_bytes());
        }
        for character in text.chars() {
            match character {
                ' '..='~' => write!(out, "{character}")?,
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(out, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}
