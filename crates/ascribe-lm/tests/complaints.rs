//! What users of other toolkits complain about, in templates and masks. A test is named after its theme in
//! `docs/peers-complaints.md`.

use ascribe_lm::{ChatTemplate, MaskedTokens, Message, Render, Roles, SpecialTokens, Tokenizer};
use ascribe_testkit::golden::{open, root};

fn golden(name: &str) -> Tokenizer {
    Tokenizer::from_folder(root().join(format!("lm/tokenizer_{name}"))).expect("the golden tokenizers can be read")
}

fn characters() -> Tokenizer {
    let roles = Roles { bos: None, eos: Some("</s>"), pad: Some("</s>") };
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .:?#<|>[]/\n";
    Tokenizer::characters(letters, &["</s>"], roles).expect("it is sound")
}

/// The text of what counts.
fn written(masked: &MaskedTokens, tokenizer: &Tokenizer) -> String {
    let counted = masked.ids.iter().zip(masked.response.iter()).filter(|(_, counts)| **counts);
    let ids: Vec<u32> = counted.map(|(id, _)| *id).collect();
    tokenizer.decode(&ids, SpecialTokens::Keep).expect("it decodes")
}

#[test]
fn theme_05_a_mask_is_neither_empty_nor_whole_without_generation_tags() {
    let file = open("lm/chat_templates.json");
    let talk = [Message::new("user", "What is 2 + 2?"), Message::new("assistant", "It is 4.")];
    let pairs =
        [("chatml", "qwen"), ("chatml_think", "qwen"), ("llama3", "llama3"), ("zephyr", "gpt2"), ("mistral", "gpt2")];
    for (name, tokenizer) in pairs {
        let tokenizer = golden(tokenizer);
        let source = file.get("templates").get(name).text();
        assert!(!source.contains("generation %}"), "{name} has tags");
        let template = ChatTemplate::new(source, &tokenizer).expect("a golden template");
        let masked = template.encode_masked(&talk, &Render::default(), &tokenizer).expect("the answer can be told");
        assert!((1..masked.ids.len()).contains(&masked.response.count()), "{name}");
        let end = tokenizer.token_text(tokenizer.eos()[0]).expect("it has a text");
        assert_eq!(written(&masked, &tokenizer).trim_start(), format!("It is 4.{end}"), "{name}");
    }
}

#[test]
fn theme_05_a_mask_by_prefixes_is_the_one_of_the_generation_tags() {
    let tagged = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}{% generation %}\
                  {{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}\
                  {{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let plain = tagged.replace("{% generation %}", "").replace("{% endgeneration %}", "");
    let talk = [
        Message::new("system", "Be terse."),
        Message::new("user", "Name a colour."),
        Message::new("assistant", "Blue."),
        Message::new("user", "Another?\nOne more."),
        Message::new("assistant", " Green, 12345 of them \n\n then"),
    ];
    for name in ["qwen", "gpt2"] {
        let tokenizer = golden(name);
        let mask = |source: &str| {
            let template = ChatTemplate::new(source, &tokenizer).expect("it is sound");
            template.encode_masked(&talk, &Render::default(), &tokenizer).expect("the answers can be told")
        };
        // Where the end of a turn is an end token, it is the last that counts; elsewhere the turn goes on to its line break.
        let (tagged, plain) = (mask(tagged), mask(&plain));
        assert_eq!(tagged.ids, plain.ids);
        match name {
            "qwen" => assert_eq!(tagged.response, plain.response),
            _ => assert!(tagged.response.positions().all(|at| plain.response[at])),
        }
    }
}

#[test]
fn theme_05_an_empty_thought_that_the_template_writes_does_not_count() {
    let tokenizer = characters();
    let source = "{% for m in messages %}{{ m.role + ': ' }}{% if m.role == 'assistant' and '</think>' not in m.content %}\
                  {{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m.content + eos_token }}{% endfor %}\
                  {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
    let template = ChatTemplate::new(source, &tokenizer).expect("it is sound");
    let talk = |answer: &str| [Message::new("user", "why?"), Message::new("assistant", answer)];
    let counted = |answer: &str| {
        let masked = template.encode_masked(&talk(answer), &Render::default(), &tokenizer).expect("it can be told");
        written(&masked, &tokenizer)
    };
    assert_eq!(counted("so."), "so.</s>");
    // A thought that was written counts.
    assert_eq!(counted("<think>hm</think>so."), "<think>hm</think>so.</s>");
}

/// Expected: Jinja 3.1 in Python, without the tags and with `strftime_now` on that day.
#[test]
fn theme_37_generation_tags_dates_and_methods_of_python_work() {
    let tokenizer = characters();
    let source = "{%- set date = strftime_now('%d %b %Y') -%}{%- for m in messages %}{{- '<|' + m.role.upper() + '|>' }}\
                  {%- if m.role == 'assistant' %}{% generation %}{{- m.content.strip() + eos_token }}{% endgeneration %}\
                  {%- else %}{{- m.content.split('#')[0].strip() + ' [' + date + ']' }}{%- endif %}{%- endfor %}";
    let template = ChatTemplate::new(source, &tokenizer).expect("it is sound");
    let talk = [Message::new("user", "hi # aside"), Message::new("assistant", "  yes ")];
    let options = Render { date: Some("2024-07-26".parse().expect("a day")), ..Render::default() };
    let text = template.render(&talk, &options).expect("it renders");
    assert_eq!(text, "<|USER|>hi [26 Jul 2024]<|ASSISTANT|>yes</s>");
    let masked = template.encode_masked(&talk, &options, &tokenizer).expect("the tags say it");
    assert_eq!(written(&masked, &tokenizer), "yes</s>");
    // Without a day it is refused: the same messages give the same text tomorrow.
    assert!(template.render(&talk, &Render::default()).is_err());
}
