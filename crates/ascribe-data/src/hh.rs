//! The dialogue format of HH-RLHF (arXiv:2204.05862): whole dialogues in `chosen` and `rejected`, and no prompt.
//!
//! ```text
//! dialogue = turn*,   turn = "\n\nHuman: " content | "\n\nAssistant: " content
//! ```
//! A pair is split by turns, never by characters, so a reply may be the beginning of the other one. The prompt is the
//! longest run of whole turns that both dialogues share and that an assistant turn follows in both. In almost every row
//! this is all but the last turn; where the dialogues part earlier, a reply is all that follows, later turns included.
//! Text before the first turn is a system message. One space after the colon belongs to the format; a turn written
//! without it reads the same.

use crate::teach::Why;
use ascribe_lm::Message;

/// A dialogue pair, split.
pub(crate) struct Pair {
    /// The turns that both share.
    pub prompt: Vec<Message>,
    /// What follows in the chosen dialogue.
    pub chosen: String,
    /// What follows in the rejected dialogue.
    pub rejected: String,
}

/// True if a text has a turn of the assistant in this format.
pub(crate) fn is_dialogue(text: &str) -> bool {
    text.contains(ASSISTANT)
}

/// Splits two dialogues at the last assistant turn up to which they agree.
pub(crate) fn split_pair(chosen: &str, rejected: &str) -> Result<Pair, Why> {
    let (ours, theirs) = (turns(chosen), turns(rejected));
    let ends_with_reply = |turns: &[Turn<'_>]| turns.last().is_some_and(|turn| turn.role == "assistant");
    if !ends_with_reply(&ours) || !ends_with_reply(&theirs) {
        return Err(Why::NoReply);
    }
    let same = |(a, b): &(&Turn<'_>, &Turn<'_>)| a.role == b.role && a.content == b.content;
    let shared = ours.iter().zip(&theirs).take_while(same).count();
    // The last turn at which both have the assistant speak, all turns before it being shared.
    let last = shared.min(ours.len() - 1).min(theirs.len() - 1);
    let splits = |at: &usize| ours[*at].role == "assistant" && theirs[*at].role == "assistant";
    let at = (1..=last).rev().find(splits).ok_or(Why::DifferentPrompts)?;
    let prompt = ours[..at].iter().map(|turn| Message::new(turn.role, turn.content)).collect();
    Ok(Pair { prompt, chosen: ours[at].rest.to_owned(), rejected: theirs[at].rest.to_owned() })
}

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

struct Turn<'a> {
    role: &'static str,
    content: &'a str,
    /// The content and all turns that follow it.
    rest: &'a str,
}

fn turns(text: &str) -> Vec<Turn<'_>> {
    let mut turns = Vec::new();
    let (mut role, mut rest) = ("system", text);
    loop {
        let next = [("user", HUMAN), ("assistant", ASSISTANT)];
        let next = next.map(|(role, mark)| rest.find(mark).map(|at| (at, role, mark)));
        let next = next.into_iter().flatten().min();
        let content = &rest[..next.map_or(rest.len(), |(at, ..)| at)];
        if role != "system" || !content.trim().is_empty() {
            turns.push(Turn { role, content, rest });
        }
        let Some((at, speaker, mark)) = next else { return turns };
        let after = &rest[at + mark.len()..];
        (role, rest) = (speaker, after.strip_prefix(' ').unwrap_or(after));
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The format, written out once more, by the definition above.
    fn render(prompt: &[Message], reply: &str) -> String {
        let speaker = |role: &str| if role == "user" { "Human" } else { "Assistant" };
        let turn = |message: &Message| format!("\n\n{}: {}", speaker(&message.role), message.content);
        prompt.iter().map(turn).collect::<String>() + "\n\nAssistant: " + reply
    }

    /// Roles and contents of the prompt, chosen, rejected.
    type Expected<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);

    fn check(chosen: &str, rejected: &str, expected: Result<Expected<'_>, Why>) {
        let got = split_pair(chosen, rejected);
        let got = got.map(|pair| (pair.prompt, pair.chosen, pair.rejected));
        let expected = expected.map(|(prompt, chosen, rejected)| {
            let prompt: Vec<_> = prompt.iter().map(|(role, content)| Message::new(*role, *content)).collect();
            (prompt, chosen.to_owned(), rejected.to_owned())
        });
        assert_eq!(got, expected);
    }

    #[test]
    fn the_prompt_is_all_but_the_last_reply() {
        let history = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: joke?";
        let prompt = &[("user", "hi"), ("assistant", "hello"), ("user", "joke?")][..];
        let pair = |a: &str, b: &str| (format!("{history}\n\nAssistant: {a}"), format!("{history}\n\nAssistant: {b}"));
        let (chosen, rejected) = pair("yes", "no");
        check(&chosen, &rejected, Ok((prompt, "yes", "no")));
        // One reply begins like the other, or is it, or is empty.
        let (chosen, rejected) = pair("yes", "yes, but");
        check(&chosen, &rejected, Ok((prompt, "yes", "yes, but")));
        check(&chosen, &chosen, Ok((prompt, "yes", "yes")));
        let (chosen, rejected) = pair("", "no\n\nHuman is a word");
        check(&chosen, &rejected, Ok((prompt, "", "no\n\nHuman is a word")));
    }

    #[test]
    fn dialogues_that_part_early_are_split_where_they_part() {
        let (start, a) = ("\n\nHuman: hi", "\n\nAssistant: a");
        let chosen = format!("{start}{a}\n\nHuman: more{a}");
        let user = &[("user", "hi")][..];
        // Different first replies; different second questions; a chosen dialogue that is the beginning of the other.
        check(&chosen, &format!("{start}\n\nAssistant: b"), Ok((user, "a\n\nHuman: more\n\nAssistant: a", "b")));
        check(
            &chosen,
            &format!("{start}{a}\n\nHuman: less{a}"),
            Ok((user, "a\n\nHuman: more\n\nAssistant: a", "a\n\nHuman: less\n\nAssistant: a")),
        );
        check(&format!("{start}{a}"), &chosen, Ok((user, "a", "a\n\nHuman: more\n\nAssistant: a")));
    }

    #[test]
    fn what_has_no_shared_prompt_or_no_reply_is_left_out() {
        let row = |question: &str| format!("\n\nHuman: {question}\n\nAssistant: a");
        check(&row("x"), &row("y"), Err(Why::DifferentPrompts));
        check("\n\nAssistant: a", "\n\nAssistant: b", Err(Why::DifferentPrompts));
        check(&row("x"), &(row("x") + "\n\nHuman: z"), Err(Why::NoReply));
        check("no turns", &row("x"), Err(Why::NoReply));
    }

    #[test]
    fn system_text_repeated_speakers_and_missing_spaces_are_read() {
        let history = "Be kind.\n\nHuman:hi\n\nHuman:  there";
        let prompt = &[("system", "Be kind."), ("user", "hi"), ("user", " there")][..];
        check(&format!("{history}\n\nAssistant: a"), &format!("{history}\n\nAssistant:b"), Ok((prompt, "a", "b")));
    }

    fn content() -> impl Strategy<Value = String> {
        let piece = prop_oneof![".{0,6}", Just(" ".into()), Just("\n".into()), Just("\n\nHuman".into())];
        let text = vec(piece, 0..4).prop_map(|pieces: Vec<String>| pieces.concat());
        text.prop_filter("a content holds no turn", |text| !text.contains(HUMAN) && !text.contains(ASSISTANT))
    }

    fn dialogue() -> impl Strategy<Value = Vec<Message>> {
        let turn = (prop_oneof![Just("user"), Just("assistant")], content());
        vec(turn.prop_map(|(role, content)| Message::new(role, content)), 0..5)
    }

    proptest! {
        #[test]
        fn prompt_and_reply_give_back_the_dialogue(
            history in dialogue(), chosen in dialogue(), rejected in dialogue(), a in content(), b in content(),
        ) {
            let question = Message::new("user", "q");
            let whole = |tail: Vec<Message>, reply: &str| {
                let turns: Vec<_> = [question.clone()].into_iter().chain(history.clone()).chain(tail).collect();
                render(&turns, reply)
            };
            let (chosen, rejected) = (whole(chosen, &a), whole(rejected, &b));
            if let Ok(pair) = split_pair(&chosen, &rejected) {
                prop_assert_eq!(render(&pair.prompt, &pair.chosen), chosen);
                prop_assert_eq!(render(&pair.prompt, &pair.rejected), rejected);
            }
        }

        #[test]
        fn dialogues_that_differ_in_the_last_reply_share_all_before_it(
            history in dialogue(), a in content(), b in content(),
        ) {
            let turns: Vec<_> = [Message::new("user", "q")].into_iter().chain(history).collect();
            let pair = split_pair(&render(&turns, &a), &render(&turns, &b));
            let pair = pair.map(|pair| (pair.prompt, pair.chosen, pair.rejected));
            prop_assert_eq!(pair, Ok((turns, a, b)));
        }
    }
}
