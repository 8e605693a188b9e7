//! Chat templates: messages to the text that a model was trained on.
//!
//! Templates are Jinja, run as transformers' `apply_chat_template` runs them: `trim_blocks` and `lstrip_blocks` are on,
//! Python's string methods work, `tojson` writes what `json.dumps(ensure_ascii=False)` writes, `raise_exception` refuses
//! the messages, and absent `tools` and `documents` are none. Departure: `strftime_now` needs a date, because the same
//! messages should give the same text tomorrow. A template may come from anybody, so its work is limited.

mod answer;
mod json;
mod response;

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind as IoErrorKind;
use std::path::Path;
use std::str::FromStr;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, Error, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

pub use self::response::MaskedTokens;
use crate::tokenizer::read_object;
use crate::{Gguf, GgufValue, LmError, Tokenizer};

/// Steps of the template engine that one rendering may take; long conversations take some thousands.
const FUEL: u64 = 20_000_000;

const NAME: &str = "chat_template";

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant` in most templates.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// How the text ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// With the last message, as in training data.
    #[default]
    LastMessage,
    /// With the opening of an answer, for the model to go on.
    GenerationPrompt,
}

/// A day, written `2026-01-31`; [`FromStr`] reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    year: i32,
    month: usize,
    day: usize,
}

/// Options of a rendering.
#[derive(Clone, Debug, Default)]
pub struct Render {
    /// How the text ends.
    pub ending: Ending,
    /// More variables for the template: `tools`, `enable_thinking` and the like. They win over all others.
    pub variables: Map<String, Json>,
    /// What `strftime_now` says, at midnight; a template that asks without it fails.
    pub date: Option<Date>,
}

/// A chat template, with the special tokens that it may write.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    special: Vec<(&'static str, String)>,
    has_tags: bool,
}

impl ChatTemplate {
    /// Parses a template. It sees the texts of the tokenizer's special tokens as `bos_token`, `eos_token`, `pad_token`.
    ///
    /// ```
    /// use ascribe_lm::{ChatTemplate, Ending, Message, Render, Roles, Tokenizer};
    /// let roles = Roles { eos: Some("</s>"), ..Roles::default() };
    /// let tokenizer = Tokenizer::characters("abc?: \n", &["</s>"], roles)?;
    /// let source = "{% for m in messages %}{{ m.role ~ ': ' ~ m.content ~ eos_token }}{% endfor %}";
    /// let template = ChatTemplate::new(source, &tokenizer)?;
    /// assert_eq!(template.render(&[Message::new("a", "b?")], &Render::default())?, "a: b?</s>");
    /// # Ok::<(), ascribe_lm::LmError>(())
    /// ```
    ///
    /// # Errors
    /// [`LmError::Template`] when it is not valid Jinja.
    pub fn new(source: impl Into<String>, tokenizer: &Tokenizer) -> Result<Self, LmError> {
        let source = source.into();
        let syntax =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|error| refusal(&error))?;
        let mut environment = Environment::new();
        environment.set_syntax(syntax);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", json::to_json);
        environment.add_filter(response::FILTER, response::mark);
        environment.add_function("raise_exception", |why: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        let (plain, has_tags) = response::without_tags(&source);
        environment.add_template_owned(NAME, plain).map_err(|error| refusal(&error))?;

        let first_eos = tokenizer.eos().first().copied();
        let roles = [("bos_token", tokenizer.bos()), ("eos_token", first_eos), ("pad_token", tokenizer.pad())];
        let special = roles.into_iter().filter_map(|(name, id)| Some((name, tokenizer.token_text(id?)?))).collect();
        Ok(Self { source, environment, special, has_tags })
    }

    /// The template of a Hugging Face folder: `chat_template.jinja`, else `chat_template` in `tokenizer_config.json` (of
    /// several, the one named `default`); `None` when the folder has none.
    ///
    /// # Errors
    /// [`LmError::Io`], [`LmError::Format`] for a config that cannot be parsed, [`LmError::Template`].
    pub fn from_folder(folder: impl AsRef<Path>, tokenizer: &Tokenizer) -> Result<Option<Self>, LmError> {
        let path = folder.as_ref().join("chat_template.jinja");
        match fs::read_to_string(&path) {
            Ok(source) => return Self::new(source, tokenizer).map(Some),
            Err(error) if error.kind() == IoErrorKind::NotFound => {}
            Err(error) => return Err(LmError::io(&path)(error)),
        }
        let config = read_object(&folder.as_ref().join("tokenizer_config.json"))?;
        let source = match config.get("chat_template") {
            Some(Json::String(source)) => Some(source.as_str()),
            Some(Json::Array(named)) => {
                let default = named.iter().find(|entry| entry.get("name").and_then(Json::as_str) == Some("default"));
                default.and_then(|entry| entry.get("template")?.as_str())
            }
            _ => None,
        };
        source.map(|source| Self::new(source, tokenizer)).transpose()
    }

    /// The template in the metadata of a GGUF file; `None` when there is none.
    ///
    /// # Errors
    /// [`LmError::Template`].
    pub fn from_gguf(file: &Gguf, tokenizer: &Tokenizer) -> Result<Option<Self>, LmError> {
        let source = file.metadata("tokenizer.chat_template").and_then(GgufValue::as_text);
        source.map(|source| Self::new(source, tokenizer)).transpose()
    }

    /// The text of a conversation. Encode it with [`Tokenizer::encode`]: it holds its special tokens already.
    ///
    /// # Errors
    /// [`LmError::Template`] when the template fails, or refuses the messages.
    pub fn render(&self, messages: &[Message], options: &Render) -> Result<String, LmError> {
        self.write(messages, options, None)
    }

    /// As [`render`](Self::render), with marks around what generation tags enclose.
    fn write(&self, messages: &[Message], options: &Render, marks: Option<[char; 2]>) -> Result<String, LmError> {
        let mut variables: Vec<(&str, Value)> = vec![("tools", Value::from(())), ("documents", Value::from(()))];
        variables.extend(self.special.iter().map(|(name, token)| (*name, Value::from(token))));
        variables.push(("messages", Value::from(Serde(messages))));
        variables.push(("add_generation_prompt", (options.ending == Ending::GenerationPrompt).into()));
        let date = options.date;
        variables.push(("strftime_now", Value::from_function(move |format: String| strftime(date, &format))));
        variables.extend(options.variables.iter().map(|(name, value)| (name.as_str(), Value::from(Serde(value)))));
        if let Some(marks) = marks {
            variables.push((response::MARKS, Value::from(String::from_iter(marks))));
        }
        let template = self.environment.get_template(NAME).map_err(|error| refusal(&error))?;
        template.render(Value::from_pairs(variables)).map_err(|error| refusal(&error))
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Writes `chat_template.jinja`.
    ///
    /// # Errors
    /// [`LmError::Io`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), LmError> {
        let path = folder.as_ref().join("chat_template.jinja");
        fs::write(&path, &self.source).map_err(LmError::io(&path))
    }

    /// BLAKE3 of the template, in hexadecimal.
    pub fn hash(&self) -> String {
        blake3::hash(self.source.as_bytes()).to_hex().to_string()
    }
}

impl FromStr for Date {
    type Err = LmError;

    fn from_str(text: &str) -> Result<Self, LmError> {
        let parts: Vec<&str> = text.split('-').collect();
        let read = |at: usize, digits: usize| {
            let part = *parts.get(at)?;
            (part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse::<usize>().ok())?
        };
        let date = match (parts.len(), read(0, 4), read(1, 2), read(2, 2)) {
            (3, Some(year), Some(month @ 1..=12), Some(day)) => {
                Some(Self { year: year as i32, month, day }).filter(|date| (1..=date.days_of_month()).contains(&day))
            }
            _ => None,
        };
        date.ok_or_else(|| LmError::Template {
            why: format!("a date is a day of the calendar written as 2026-01-31, got `{text}`"),
        })
    }
}

impl Date {
    fn days_of_month(self) -> usize {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        match self.month {
            2 => 28 + usize::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(self) -> usize {
        (1..self.month).map(|month| Self { month, ..self }.days_of_month()).sum::<usize>() + self.day
    }

    /// 0 is Sunday. Days before the year (in the Gregorian calendar, extended backwards) and within it; the first day of
    /// year 1 is a Monday.
    fn weekday(self) -> usize {
        let before = self.year - 1;
        let days = before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
        (days + self.day_of_year() as i32).rem_euclid(7) as usize
    }
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The directives of C's `strftime` that say something about a day, in English.
fn strftime(date: Option<Date>, format: &str) -> Result<String, Error> {
    let fail = |why: String| Error::new(ErrorKind::InvalidOperation, why);
    let date =
        date.ok_or_else(|| fail("the template asks for the date; set `date` to have one that does not change".into()))?;
    let (year, month, day) = (date.year, date.month, date.day);
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let written = match characters.next() {
            Some('Y') => write!(out, "{year:04}"),
            Some('y') => write!(out, "{:02}", year % 100),
            Some('m') => write!(out, "{month:02}"),
            Some('d') => write!(out, "{day:02}"),
            Some('e') => write!(out, "{day:2}"),
            Some('j') => write!(out, "{:03}", date.day_of_year()),
            Some('B') => write!(out, "{}", MONTHS[month - 1]),
            Some('b') => write!(out, "{}", &MONTHS[month - 1][..3]),
            Some('A') => write!(out, "{}", DAYS[date.weekday()]),
            Some('a') => write!(out, "{}", &DAYS[date.weekday()][..3]),
            Some('F') => write!(out, "{year:04}-{month:02}-{day:02}"),
            Some('H' | 'M' | 'S') => write!(out, "00"),
            Some('%') => write!(out, "%"),
            other => return Err(fail(format!("strftime_now does not know the directive %{}", other.unwrap_or(' ')))),
        };
        written.map_err(|error| fail(error.to_string()))?;
    }
    Ok(out)
}

/// What went wrong, without the engine's own name for it.
fn refusal(error: &Error) -> LmError {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let place = error.line().map_or(String::new(), |line| format!(" (line {line} of the template)"));
    let remedy = match error.kind() {
        ErrorKind::OutOfFuel => "; the template takes too long: shorten the conversation or use another template",
        ErrorKind::SyntaxError => "; correct the template",
        _ => "; correct the messages, or use a template that accepts them",
    };
    LmError::Template { why: format!("{what}{place}{remedy}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Roles;

    fn template(source: &str) -> ChatTemplate {
        let roles = Roles { eos: Some("</s>"), ..Roles::default() };
        ChatTemplate::new(source, &Tokenizer::characters("ab", &["</s>"], roles).unwrap()).unwrap()
    }

    fn render(source: &str, options: &Render) -> Result<String, LmError> {
        template(source).render(&[Message::new("user", "hi")], options)
    }

    #[test]
    fn tojson_writes_what_python_writes() {
        let tools = json!([{"name": "f<b>", "about": {"z": 1, "a": [1.5, true, null, "é\"\n"]}, "none": []}]);
        let options = Render { variables: Map::from_iter([("tools".to_owned(), tools)]), ..Render::default() };
        // json.dumps(tools, ensure_ascii=False) and json.dumps(tools[0]['about'], ensure_ascii=False, indent=2)
        let plain = r#"[{"name": "f<b>", "about": {"z": 1, "a": [1.5, true, null, "é\"\n"]}, "none": []}]"#;
        assert_eq!(render("{{ tools | tojson }}", &options).unwrap(), plain);
        let indented = "{\n  \"z\": 1,\n  \"a\": [\n    1.5,\n    true,\n    null,\n    \"é\\\"\\n\"\n  ]\n}";
        assert_eq!(render("{{ tools[0].about | tojson(indent=2) }}", &options).unwrap(), indented);
    }

    /// Expected: Python 3.11, `json.dumps(value, ensure_ascii=False, ...)`.
    #[test]
    fn tojson_takes_the_options_of_python() {
        let value = json!({"b": [1e16, 1.5e-7, 0.0001, 12345678.5, 1e15, -2.0, 3], "a": {"é🙂\u{7f}": []}, "c": {}});
        let options = Render { variables: Map::from_iter([("v".to_owned(), value)]), ..Render::default() };
        let numbers = |source: &str| render(&format!("{{{{ v.b | tojson{source} }}}}"), &options).unwrap();
        assert_eq!(numbers(""), "[1e+16, 1.5e-07, 0.0001, 12345678.5, 1000000000000000.0, -2.0, 3]");
        assert_eq!(numbers("(separators=('', ':'))"), "[1e+161.5e-070.000112345678.51000000000000000.0-2.03]");
        let sorted = render("{{ v | tojson(separators=(',', ':'), sort_keys=true) }}", &options).unwrap();
        assert!(sorted.starts_with("{\"a\":{\"é🙂\u{7f}\":[]},\"b\":[") && sorted.ends_with("],\"c\":{}}"), "{sorted}");
        let ascii = render("{{ v.a | tojson(ensure_ascii=true, indent=1) }}", &options).unwrap();
        assert_eq!(ascii, "{\n \"\\u00e9\\ud83d\\ude42\\u007f\": []\n}");
        for wrong in ["separators=(',',)", "indent=99", "colour=1"] {
            assert!(render(&format!("{{{{ v | tojson({wrong}) }}}}"), &options).is_err(), "{wrong}");
        }
        let refused = render("{{ nothing | tojson }}", &options).unwrap_err().to_string();
        assert!(refused.contains("not defined"), "{refused}");
    }

    #[test]
    fn strings_have_the_methods_of_python() {
        let source = "{{ ' a-b '.strip().upper().split('-')[1] }}{{ 'xay'.replace('a', 'o').startswith('xo') }}\
                      {% for k, v in {'n': 1}.items() %}{{ k ~ v }}{% endfor %}{{ 'abc'[::-1] }}{{ 'a,b'.split(',')|join('+') }}";
        assert_eq!(render(source, &Render::default()).unwrap(), "BTruen1cbaa+b");
    }

    #[test]
    fn tools_and_documents_are_none_or_what_is_given() {
        let source = "{% if tools %}{{ tools[0].name }}{% else %}no tools{% endif %} {{ documents is none }}";
        assert_eq!(render(source, &Render::default()).unwrap(), "no tools True");
        let given = [("tools".to_owned(), json!([{"name": "f"}])), ("documents".to_owned(), json!([{"text": "d"}]))];
        let options = Render { variables: Map::from_iter(given), ..Render::default() };
        assert_eq!(render(source, &options).unwrap(), "f False");
    }

    #[test]
    fn generation_tags_leave_the_text_as_it_is() {
        let marked = "a {%- generation %}\n  b{{ messages[0].content }} {% endgeneration -%}  c";
        assert_eq!(render(marked, &Render::default()).unwrap(), "a  bhi c");
        let plain = "{% if generation %}x{% endif %}{% raw %}{% generation %}{% endraw %}{# {% generation %} #}\
                     {{ '{% generation %}' }}{% set a = \"%} \\\" {% generation %}\" %}{% open";
        assert_eq!(response::without_tags(plain), (plain.to_owned(), false));
        let given = "{%- generation +%}{{ '}}' }}{%endgeneration-%}";
        let expected = "{%- filter ascribe_generation +%}{{ '}}' }}{%endfilter-%}";
        assert_eq!(response::without_tags(given), (expected.to_owned(), true));
    }

    #[test]
    fn the_date_is_given_never_read() {
        let source = "{{ strftime_now('%d %b %Y, %A %j') }}";
        let options = Render { date: Some("2024-12-31".parse().unwrap()), ..Render::default() };
        assert_eq!(render(source, &options).unwrap(), "31 Dec 2024, Tuesday 366");
        let options = Render { date: Some("2000-01-01".parse().unwrap()), ..Render::default() };
        assert_eq!(render(source, &options).unwrap(), "01 Jan 2000, Saturday 001");
        assert!(render(source, &Render::default()).unwrap_err().to_string().contains("set `date`"));
        for wrong in ["2023-02-29", "2024-13-01", "2024-1-01", "yesterday", "2024-01-01-01"] {
            assert!(wrong.parse::<Date>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn absent_variables_are_as_in_transformers() {
        assert_eq!(
            render("{{ tools is none }} {{ bos_token }} {{ eos_token }}", &Render::default()).unwrap(),
            "True  </s>"
        );
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let endless = [
            nested,
            "{% macro again() %}{{ again() }}{{ again() }}{% endmacro %}{{ again() }}",
            "{{ 'x' * 1000000000000 }}",
            "{{ range(1000000000000) | list }}",
        ];
        assert!(render(nested, &Render::default()).unwrap_err().to_string().contains("too long"));
        for source in endless {
            assert!(render(source, &Render::default()).is_err(), "{source}");
        }
    }

    #[test]
    fn a_template_that_is_not_jinja_is_refused() {
        let tokenizer = Tokenizer::characters("ab", &[], Roles::default()).unwrap();
        let refused = ChatTemplate::new("a\n{% for %}", &tokenizer).unwrap_err().to_string();
        assert!(refused.contains("line 2") && refused.contains("correct the template"), "{refused}");
    }

    #[test]
    fn the_template_of_a_folder_is_found_and_comes_back() {
        let tokenizer = Tokenizer::characters("ab", &[], Roles::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(ChatTemplate::from_folder(&folder, &tokenizer).unwrap().is_none());
        let config =
            json!({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]});
        fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        assert_eq!(ChatTemplate::from_folder(&folder, &tokenizer).unwrap().unwrap().source(), "d");
        ChatTemplate::new("x\n", &tokenizer).unwrap().save(&folder).unwrap();
        assert_eq!(ChatTemplate::from_folder(&folder, &tokenizer).unwrap().unwrap().source(), "x\n");
    }
}
