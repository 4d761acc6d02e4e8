//! The arguments of a call, independent of the protocol generation.

use super::builder::{Builder, parse_json};
use super::value::{Kind, Value};
use crate::error::{Code, Error, Result};
use bytes::Bytes;

/// Positional and keyword arguments, as in Python.
#[derive(Debug)]
pub struct Args {
    /// The positional arguments, an array.
    pub positional: Builder,
    /// The keyword arguments, a map.
    pub keywords: Builder,
    attachments: Vec<(String, Bytes)>,
    /// The value that is being added is a keyword argument.
    in_keyword: bool,
}

impl Default for Args {
    fn default() -> Args {
        Args { positional: Builder::array(), keywords: Builder::map(), attachments: Vec::new(), in_keyword: false }
    }
}

impl Args {
    /// No arguments.
    pub fn new() -> Args {
        Args::default()
    }

    /// Positional arguments from the text of a JSON array, such as `[1, "two"]`.
    pub fn from_json(positional: &str) -> Result<Args> {
        let mut args = Args::new();
        args.add_json(positional)?;
        Ok(args)
    }

    /// Adds binary data by reference and returns its key. In JSON text that is added afterwards, each string that
    /// equals the key stands for the data.
    pub fn attach(&mut self, data: impl Into<Bytes>) -> String {
        let key = format!("wslink_bin{}", self.attachments.len());
        self.attachments.push((key.clone(), data.into()));
        key
    }

    /// Adds positional arguments from the text of a JSON array.
    pub fn add_json(&mut self, text: &str) -> Result<()> {
        self.between_arguments()?;
        let document = parse_json(text, &self.attachments, false)?;
        if document.root().kind() != Kind::Array {
            return Err(Error::new(Code::Json, "args must be a JSON array, such as [1, 2]"));
        }
        document.root().elements().try_for_each(|v| self.positional.value(v))
    }

    /// Adds keyword arguments from the text of a JSON object.
    pub fn add_keywords_json(&mut self, text: &str) -> Result<()> {
        self.between_arguments()?;
        let document = parse_json(text, &self.attachments, false)?;
        if document.root().kind() != Kind::Map {
            return Err(Error::new(Code::Json, "kwargs must be a JSON object, such as {\"size\": 3}"));
        }
        document.root().pairs().try_for_each(|(k, v)| {
            self.keywords.key(k.as_str().unwrap_or_default())?;
            self.keywords.value(v)
        })
    }

    /// Makes the next value that is added to [`target`](Args::target) the keyword argument `name`.
    pub fn keyword(&mut self, name: &str) -> Result<()> {
        self.between_arguments()?;
        self.keywords.key(name)?;
        self.in_keyword = true;
        Ok(())
    }

    fn between_arguments(&mut self) -> Result<()> {
        if !self.target().is_complete() {
            return Err(Error::new(Code::Argument, "an argument can only begin where the one before is complete"));
        }
        Ok(())
    }

    /// The builder for the next value: of the keyword arguments after [`keyword`](Args::keyword) until that value is
    /// complete, otherwise of the positional arguments.
    pub fn target(&mut self) -> &mut Builder {
        self.in_keyword &= !self.keywords.is_complete();
        if self.in_keyword { &mut self.keywords } else { &mut self.positional }
    }

    /// Adds one value as JSON text, which may contain keys of [`attach`](Args::attach).
    pub fn add_json_value(&mut self, text: &str) -> Result<()> {
        let document = parse_json(text, &self.attachments, false)?;
        self.target().value(document.root())
    }

    /// How many attachment keys these arguments need in generation 1: one for each binary value.
    pub(crate) fn attachment_keys(&self) -> usize {
        self.positional.attachment_count() + self.keywords.attachment_count()
    }

    /// Removes everything that was added.
    pub fn clear(&mut self) {
        self.positional.clear();
        self.keywords.clear();
        self.attachments.clear();
        self.in_keyword = false;
    }
}

macro_rules! from_values {
    ($($t:ty, $add:ident, $as:ty;)*) => {$(
        impl Append for $t {
            fn append(self, to: &mut Builder) -> Result<()> {
                to.$add(<$as>::from(self))
            }
        }
    )*};
}

/// A Rust value that can be an argument.
pub trait Append {
    /// Adds the value.
    fn append(self, to: &mut Builder) -> Result<()>;
}

from_values! {
    bool, bool, bool;
    i32, int, i64;
    i64, int, i64;
    u32, uint, u64;
    u64, uint, u64;
    f64, float, f64;
    Bytes, bytes, Bytes;
    Vec<u8>, bytes, Bytes;
}

impl Append for &str {
    fn append(self, to: &mut Builder) -> Result<()> {
        to.str(self)
    }
}

impl Append for &[f64] {
    fn append(self, to: &mut Builder) -> Result<()> {
        to.floats(self.iter().copied())
    }
}

impl Append for Value<'_> {
    fn append(self, to: &mut Builder) -> Result<()> {
        to.value(self)
    }
}

impl Args {
    /// Adds a positional argument: `Args::new().with(1)?.with("two")?`.
    pub fn with(mut self, value: impl Append) -> Result<Args> {
        value.append(&mut self.positional)?;
        Ok(self)
    }

    /// Adds a keyword argument.
    pub fn with_keyword(mut self, name: &str, value: impl Append) -> Result<Args> {
        self.keywords.key(name)?;
        value.append(&mut self.keywords)?;
        Ok(self)
    }
}
