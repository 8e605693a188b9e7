//! Options of objectives that are made by name: values by name, laid over the defaults of a config.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::PreferenceError;

/// What was given for an objective that is made by name, under the names of its config's fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectiveOptions(Map<String, Value>);

impl ObjectiveOptions {
    /// The given values.
    pub fn new(given: Map<String, Value>) -> Self {
        Self(given)
    }

    /// The same with one more value. A number that is not finite has no value, and is refused when it is read.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The values, in the order in which they were given.
    pub fn given(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The same without the values that are not in `known`.
    pub fn among(&self, known: &Map<String, Value>) -> Self {
        let kept = self.0.iter().filter(|(name, _)| known.contains_key(*name));
        Self(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// One number, `default` when it was not given: for objectives without a config.
    ///
    /// # Errors
    /// [`PreferenceError::Unreadable`] when it is no finite number.
    pub fn number(&self, objective: &str, name: &str, default: f64) -> Result<f64, PreferenceError> {
        match self.0.get(name) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| not_a_number(objective, name)),
        }
    }

    /// Refuses values of other names: for objectives without a config.
    ///
    /// # Errors
    /// [`PreferenceError::UnknownOption`] names the first.
    pub fn only(&self, objective: &str, known: &[&str]) -> Result<(), PreferenceError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(unknown(objective, name, known.iter().copied())),
        }
    }

    /// `defaults`, with what was given in their place.
    ///
    /// # Errors
    /// [`PreferenceError::UnknownOption`] for a name that is none of theirs, [`PreferenceError::Unreadable`] for a value of
    /// another kind.
    pub fn over<C: DeserializeOwned>(
        &self,
        objective: &str,
        mut defaults: Map<String, Value>,
    ) -> Result<C, PreferenceError> {
        for (name, value) in &self.0 {
            let Some(default) = defaults.get_mut(name) else {
                return Err(unknown(objective, name, defaults.keys().map(String::as_str)));
            };
            if value.is_null() && !default.is_null() {
                return Err(not_a_number(objective, name));
            }
            *default = value.clone();
        }
        serde_json::from_value(Value::Object(defaults))
            .map_err(|error| PreferenceError::Unreadable { objective: objective.to_owned(), why: error.to_string() })
    }
}

/// The fields of a config with their values.
pub(super) fn fields<C: Serialize>(config: &C) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        // A config is a structure of plain values.
        _ => Map::new(),
    }
}

fn not_a_number(objective: &str, name: &str) -> PreferenceError {
    PreferenceError::Unreadable { objective: objective.to_owned(), why: format!("{name} must be a finite number") }
}

fn unknown<'a>(objective: &str, name: &str, known: impl Iterator<Item = &'a str>) -> PreferenceError {
    let known: Vec<&str> = known.collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    PreferenceError::UnknownOption { name: name.to_owned(), objective: objective.to_owned(), known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objectives::DpoConfig;

    #[test]
    fn given_values_stand_over_the_defaults() {
        let read = |options: ObjectiveOptions| options.over::<DpoConfig>("dpo", fields(&DpoConfig::default()));
        assert_eq!(read(ObjectiveOptions::default()).unwrap(), DpoConfig::default());
        let got = read(ObjectiveOptions::default().with("beta", 2).with("ld_alpha", 0.5).with("reference_free", true));
        let got = got.unwrap();
        assert_eq!((got.beta, got.scoring.ld_alpha, got.scoring.reference_free), (2.0, Some(0.5), true));
        let error = read(ObjectiveOptions::default().with("gamma", 1.0)).unwrap_err().to_string();
        assert!(error.contains("`gamma` is no option of dpo, whose options are beta, label_smoothing"), "{error}");
        let error = read(ObjectiveOptions::default().with("beta", f64::NAN)).unwrap_err().to_string();
        assert!(error.contains("beta must be a finite number"), "{error}");
        let error = read(ObjectiveOptions::default().with("f_divergence_type", "kl")).unwrap_err().to_string();
        assert!(error.contains("unknown variant `kl`, expected one of `reverse_kl`"), "{error}");
    }

    #[test]
    fn objectives_without_a_config_read_numbers() {
        let options = ObjectiveOptions::default().with("beta", 0.5);
        assert_eq!(options.number("own", "beta", 0.1).unwrap(), 0.5);
        assert_eq!(options.number("own", "offset", 0.25).unwrap(), 0.25);
        assert!(options.only("own", &["beta"]).is_ok());
        assert!(options.only("own", &["offset"]).unwrap_err().to_string().contains("`beta` is no option of own"));
        assert!(options.with("beta", "x").number("own", "beta", 0.1).is_err());
    }
}
