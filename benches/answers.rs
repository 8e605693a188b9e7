//! How long a million answers take to check, on one core: `cargo bench -p ascribe-benches --bench answers`.

use std::hint::black_box;

use ascribe::process::{Checked, Checker, Gold};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Gold answers and completions of the kinds that occur, most of them numbers.
const ANSWERS: [(&str, &str); 10] = [
    ("18", "She makes 9 * 2 = $<<9*2=18>>18 every day.\nA: 18"),
    ("1,450,000", "so the house is worth\n#### 1450000"),
    ("7.25", "The answer is \\boxed{\\frac{29}{4}}."),
    ("24", "So she has 24 apples."),
    ("50\\%", "Therefore the answer is $0.5$."),
    ("(1,2]", "\\boxed{(1, 2]}"),
    ("\\{1,2,3\\}", "\\boxed{3, 2, 1}"),
    ("x^2+12x+36", "\\boxed{(x+6)^2}"),
    ("2\\sqrt{2}", "\\boxed{\\sqrt{8}}"),
    ("B", "The answer is (B)."),
];

fn check_answers(criterion: &mut Criterion) {
    let checker = Checker::default();
    let golds: Vec<Gold> = ANSWERS.iter().map(|(gold, _)| checker.gold(gold).expect("a gold answer")).collect();
    let checks = 1_000_000;
    let mut group = criterion.benchmark_group("check_answers");
    group.sample_size(10).throughput(Throughput::Elements(checks));
    group.bench_function("1000000", |bencher| {
        bencher.iter(|| {
            let check = |at: usize| -> Checked { checker.check(black_box(ANSWERS[at].1), &golds[at]) };
            (0..checks as usize).map(|at| check(at % ANSWERS.len()).verdict.reward()).sum::<f64>()
        });
    });
    group.finish();
}

criterion_group!(answers, check_answers);
criterion_main!(answers);
