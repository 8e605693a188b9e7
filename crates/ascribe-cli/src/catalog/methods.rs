//! Every method of `ascribe train`, by what it learns from, with what it is in one line.

use ascribe::core::RowKind;
use ascribe::preference::objectives::{OBJECTIVES, ObjectiveOptions, ObjectiveRow, find};

use super::Catalog;
use crate::train::process::{self, IMPLICIT, IMPLICIT_ABOUT};
use crate::train::recipes::RECIPES;
use crate::train::reward::{self, written};
use crate::train::rounds::{ROUNDS, rounds};
use crate::train::{archer, offline, scir};

/// What objectives learn from, in words.
const KINDS: [(RowKind, &str); 5] = [
    (RowKind::Single, "On completions or conversations"),
    (RowKind::Pairs, "On pairs of a chosen and a rejected response"),
    (RowKind::Triples, "On pairs with a third answer"),
    (RowKind::Labelled, "On responses that are wanted or not"),
    (RowKind::Groups, "On prompts with scored responses"),
];

/// What is said of an objective that was added.
const ADDED: &str = "An objective of this program.";

/// A title, and methods with what they are.
pub type Family<'a> = (&'static str, Vec<(&'a str, &'a str)>);

impl Catalog {
    /// Every method once, under the name that is listed.
    pub(crate) fn families(&self) -> Vec<Family<'_>> {
        let of_kind = |kind: RowKind| -> Vec<(&'static str, &'static str)> {
            let rows = OBJECTIVES.iter().filter(|row| !self.is_own(row.name) && kind_of(row) == Some(kind));
            rows.map(|row| (row.name, row.about)).collect()
        };
        let mut families: Vec<Family<'_>> = KINDS.iter().map(|(kind, title)| (*title, of_kind(*kind))).collect();
        let own = self.own.iter().map(|(name, _)| (name.as_str(), ADDED)).collect();
        let written = written::METHODS.iter().map(|(name, _, about)| (*name, *about));
        let process = process::METHODS.iter().map(|(name, _, about)| (*name, *about));
        let others: [Family<'_>; 6] = [
            ("Of this program", own),
            ("On rollouts of the model itself", RECIPES.iter().map(|recipe| (recipe.name, recipe.about)).collect()),
            ("In rounds of pairs that the model writes", ROUNDS.iter().map(|one| (one.name, one.about)).collect()),
            (
                "Other ways to train a policy",
                vec![(offline::METHOD, offline::ABOUT), (scir::METHOD, scir::ABOUT), (archer::METHOD, archer::ABOUT)],
            ),
            ("Reward models", std::iter::once((reward::METHOD, reward::ABOUT)).chain(written).collect()),
            ("Process models", process.chain([(IMPLICIT, IMPLICIT_ABOUT)]).collect()),
        ];
        families.extend(others);
        families.retain(|(_, methods)| !methods.is_empty());
        families
    }

    /// What `method` is, in one line: any name for it, or a sum such as `dpo+sft`. None where there is no such method.
    pub(crate) fn about(&self, method: &str) -> Option<String> {
        let mut listed = self.families().into_iter().flat_map(|(_, methods)| methods);
        if let Some((_, about)) = listed.find(|(name, _)| *name == method) {
            return Some(about.to_owned());
        }
        if let Some(rounds) = rounds(method) {
            return Some(rounds.about.to_owned());
        }
        let name = |part| if self.is_own(part) { Some(part) } else { find(part).map(|row| row.name) };
        let parts: Vec<&str> = method.split('+').map(name).collect::<Option<_>>()?;
        match parts.as_slice() {
            [one] => find(one).map(|row| row.about.to_owned()),
            parts => Some(format!("The sum of the losses {}.", parts.join(", "))),
        }
    }

    /// Whether an objective of this name was added.
    pub(crate) fn is_own(&self, name: &str) -> bool {
        self.own.iter().any(|(known, _)| known == name)
    }
}

/// What an objective with its defaults learns from.
fn kind_of(row: &ObjectiveRow) -> Option<RowKind> {
    row.make(&ObjectiveOptions::default()).ok().map(|made| made.objective.needs().kind)
}

#[cfg(test)]
mod tests {
    use ascribe::preference::objectives::Sft;

    use super::*;

    #[test]
    fn every_method_is_listed_once_with_a_line_of_its_own() {
        let catalog = Catalog::builtin().objective("mine", |_| Ok(Box::new(Sft)));
        let listed: Vec<(&str, &str)> = catalog.families().into_iter().flat_map(|(_, methods)| methods).collect();
        let tables = OBJECTIVES.len() + RECIPES.len() + ROUNDS.len() + process::METHODS.len() + written::METHODS.len();
        // reward, implicit-prm, offline-oreo, scir, archer, and the one that was added.
        assert_eq!(listed.len(), tables + 6);
        for (at, (name, about)) in listed.iter().enumerate() {
            let same = |(known, said): &(&str, &str)| known == name || said == about;
            assert!(!listed[..at].iter().any(same), "{name}: {about}");
            assert!(about.ends_with('.') && about.len() <= 110 && !about.contains('\n'), "{name}: {about}");
            assert_eq!(catalog.about(name).as_deref(), Some(*about));
        }
        for row in &OBJECTIVES {
            assert!(row.aliases.iter().all(|alias| catalog.about(alias).as_deref() == Some(row.about)), "{}", row.name);
        }
    }

    #[test]
    fn families_say_what_rows_are() {
        let catalog = Catalog::builtin();
        let family = |method: &str| {
            let of = |(_, methods): &Family<'_>| methods.iter().any(|(name, _)| *name == method);
            catalog.families().into_iter().find(of).map(|(title, _)| title)
        };
        assert_eq!(family("sft"), Some("On completions or conversations"));
        assert_eq!(family("simpo"), Some("On pairs of a chosen and a rejected response"));
        assert_eq!(family("tpo"), Some("On pairs with a third answer"));
        assert_eq!(family("kto"), Some("On responses that are wanted or not"));
        assert_eq!(family("rrhf"), Some("On prompts with scored responses"));
        assert_eq!(family("ppo"), Some("On rollouts of the model itself"));
        assert_eq!((family("mine"), family("dpoo")), (None, None));
    }

    #[test]
    fn sums_and_other_names_are_known_and_nothing_else() {
        let catalog = Catalog::builtin().objective("dpo", |_| Ok(Box::new(Sft)));
        assert_eq!(catalog.about("dpo").as_deref(), Some(ADDED));
        assert_eq!(catalog.about("dpo+t_reg").as_deref(), Some("The sum of the losses dpo, t-reg."));
        assert_eq!(catalog.about("iterative_dpo"), catalog.about("iterative-dpo"));
        assert!(["dpoo", "dpo+sfft", "dpo+grpo", "", "+"].iter().all(|name| catalog.about(name).is_none()));
    }
}
