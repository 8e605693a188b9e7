//! The acquisition game: agents choose effort, see signals and report; the mechanism recommends, pays and acts (F. Cacciamani,
//! M. Castiglioni and N. Gatti, Online Information Acquisition: Hiring Multiple Agents, 2023; here: paying annotators or judges
//! so that effort and truth are best replies).
//!
//! ```text
//! b ~ mu;  agent i is told b_i, chooses an effort of its own, sees s_i of s ~ P(s | theta, efforts) and reports
//! pay_i(b, reports, theta) in [0, most],  action a(b, reports),  value = E[payoff(a, theta) - sum_i pay_i]
//! IC   for each i, b_i, effort e and map from signals to reports: E[pay_i - c_i(b_i) | b_i, truth]
//!      >= E[pay_i - c_i(e) | b_i, effort e, map] + margin 1[e != b_i],  others honest
//! ```
//! With `x_i(b, s, theta) = mu(b) pay_i(b, s, theta)` the best mechanism is a linear program: the best report to each signal is
//! a bound `z` of its own, so maps are not enumerated. Signals may hang together given the state, so what others report may say
//! whether an agent worked; then mixed profiles can be worth more than any one profile. Small games only.

use crate::EvalError;
use crate::error::{finite, not_empty, option, same_length, within};
use crate::stats::linear_program::maximise;
use crate::stats::sum::sum;

/// A game of agents who report signals about a state.
///
/// A profile, one effort an agent, is a number: the effort of the first agent counts 1, that of the second as many as the
/// first has efforts, and so on. So is a joint signal, and a joint report.
#[derive(Clone, Debug, PartialEq)]
pub struct AcquisitionGame {
    /// Chance of each state.
    pub prior: Vec<f64>,
    /// `costs[agent][effort]`.
    pub costs: Vec<Vec<f64>>,
    /// How many signals each agent may see.
    pub signals: Vec<usize>,
    /// `law[profile][state][joint signal]`: chance of what is seen.
    pub law: Vec<Vec<Vec<f64>>>,
    /// `payoff[action][state]`: what the principal gains.
    pub payoff: Vec<Vec<f64>>,
}

/// What the principal does.
#[derive(Clone, Debug, PartialEq)]
pub struct Mechanism {
    /// Chance of each profile to be recommended.
    pub recommend: Vec<f64>,
    /// `pay[agent][profile][joint report][state]`.
    pub pay: Vec<Vec<Vec<Vec<f64>>>>,
    /// `act[profile][joint report]`.
    pub act: Vec<Vec<usize>>,
}

/// What an agent does who is told an effort.
struct Reply {
    effort: usize,
    /// The report to each signal.
    reports: Vec<usize>,
    /// What it gains over effort and truth, times the chance to be told so.
    gain: f64,
}

/// Most entries of the table of a linear program.
const MOST: f64 = 4e6;

/// Gains up to here are rounding.
const ROUNDING: f64 = 1e-9;

impl AcquisitionGame {
    /// How many profiles there are.
    pub fn profiles(&self) -> usize {
        self.efforts().iter().product()
    }

    /// How many joint signals, and joint reports, there are.
    pub fn joint_signals(&self) -> usize {
        self.signals.iter().product()
    }

    /// The largest expected gain of any agent from other efforts and reports; the mechanism is incentive compatible when it
    /// is 0. At least 0; best replies that tie within 1e-9 are no violation. O(agents efforts profiles outcomes signals).
    ///
    /// # Errors
    /// When a table does not fit or does not sum to 1, or a number is NaN or infinite.
    pub fn incentive_violation(&self, mechanism: &Mechanism) -> Result<f64, EvalError> {
        self.checked_mechanism(mechanism)?;
        let gains = self.replies(mechanism).into_iter().map(|replies| sum(replies.iter().map(|reply| reply.gain)));
        Ok(gains.fold(0.0, f64::max))
    }

    /// Expected payoff less payments when all follow the mechanism. Unbounded; O(profiles outcomes).
    ///
    /// # Errors
    /// As [`incentive_violation`](Self::incentive_violation).
    pub fn principal_value(&self, mechanism: &Mechanism) -> Result<f64, EvalError> {
        self.checked_mechanism(mechanism)?;
        let honest = |(agent, costs): (usize, &Vec<f64>)| -> Vec<Reply> {
            let truth: Vec<usize> = (0..self.signals[agent]).collect();
            (0..costs.len()).map(|effort| Reply { effort, reports: truth.clone(), gain: 0.0 }).collect()
        };
        let replies: Vec<Vec<Reply>> = self.costs.iter().enumerate().map(honest).collect();
        Ok(self.value(mechanism, &replies))
    }

    /// The same when every agent gives a best reply to the honesty of the others: honest itself where that is one. Unbounded;
    /// as [`incentive_violation`](Self::incentive_violation).
    ///
    /// # Errors
    /// As [`incentive_violation`](Self::incentive_violation).
    pub fn replied_value(&self, mechanism: &Mechanism) -> Result<f64, EvalError> {
        self.checked_mechanism(mechanism)?;
        Ok(self.value(mechanism, &self.replies(mechanism)))
    }

    /// The incentive-compatible mechanism of largest value among those that pay from 0 to `most_pay`, recommend only
    /// `profiles`, and make every effort other than the recommended one worse by `margin` at least. A linear program.
    ///
    /// # Errors
    /// When a table does not fit or does not sum to 1, a number is NaN or infinite, an option is out of range, no such
    /// mechanism exists, or the game is too large.
    pub fn best_mechanism(&self, most_pay: f64, margin: f64, profiles: &[usize]) -> Result<Mechanism, EvalError> {
        self.checked()?;
        option("most_pay", "finite and above 0", most_pay, 0.0 < most_pay && most_pay.is_finite())?;
        option("margin", "finite and at least 0", margin, (0.0..f64::INFINITY).contains(&margin))?;
        not_empty("the profiles", profiles)?;
        if let Some(index) = profiles.iter().position(|&profile| profile >= self.profiles()) {
            let (what, rule) = ("the profiles", "below the number of profiles");
            return Err(EvalError::OutOfRange { what, rule, index, got: profiles[index] as f64 });
        }
        let mut profiles = profiles.to_vec();
        profiles.sort_unstable();
        profiles.dedup();
        let act: Vec<Vec<usize>> = (0..self.profiles()).map(|profile| self.best_actions(profile)).collect();
        let x = self.program(most_pay, margin, &profiles, &act)?;
        let total = sum(x.iter().copied().take(profiles.len()));
        if total < 0.5 {
            let why =
                "no payments up to most_pay make effort and truth best replies by the margin; pay more or ask for less";
            return Err(EvalError::Degenerate { what: "a mechanism", why });
        }
        let (states, joint) = (self.prior.len(), self.joint_signals());
        let nothing = vec![vec![vec![0.0; states]; joint]; self.profiles()];
        let mut pay = vec![nothing; self.costs.len()];
        let mut recommend = vec![0.0; self.profiles()];
        for (at, &profile) in profiles.iter().enumerate().filter(|&(at, _)| x[at] > ROUNDING) {
            recommend[profile] += x[at] / total;
            for (agent, pay) in pay.iter_mut().enumerate() {
                for (reports, pay) in pay[profile].iter_mut().enumerate() {
                    for (state, pay) in pay.iter_mut().enumerate() {
                        let place = self.place(profiles.len(), [agent, at, reports, state]);
                        *pay = (x[place] / x[at]).clamp(0.0, most_pay);
                    }
                }
            }
        }
        // What was rounded away.
        let all = sum(recommend.iter().copied());
        recommend.iter_mut().for_each(|chance| *chance /= all);
        Ok(Mechanism { recommend, pay, act })
    }

    /// Where the payment of an agent, a profile by its place in the list, a joint report and a state stands among the unknowns.
    fn place(&self, profiles: usize, [agent, at, reports, state]: [usize; 4]) -> usize {
        profiles + ((agent * profiles + at) * self.joint_signals() + reports) * self.prior.len() + state
    }

    /// The unknowns of the program: chances of the profiles, payments times these chances, and bounds on what a signal is worth.
    fn program(
        &self,
        most_pay: f64,
        margin: f64,
        profiles: &[usize],
        act: &[Vec<usize>],
    ) -> Result<Vec<f64>, EvalError> {
        let (states, joint, efforts) = (self.prior.len(), self.joint_signals(), self.efforts());
        let bounds_at = profiles.len() + self.costs.len() * profiles.len() * joint * states;
        let bounds: usize =
            efforts.iter().zip(&self.signals).map(|(efforts, signals)| efforts * efforts * signals).sum();
        let unknowns = bounds_at + bounds;
        let limits = bounds_at + efforts.iter().zip(&self.signals).map(|(e, s)| e * e * (s * s + 1)).sum::<usize>();
        let size = limits as f64 * (limits + unknowns) as f64;
        option("entries of the linear program", "at most 4 million", size, size <= MOST)?;

        let worth: Vec<f64> = profiles.iter().map(|&profile| self.gross(profile, &act[profile])).collect();
        // So that recommending something is always worth more than nothing.
        let lift = 1.0 - worth.iter().copied().fold(f64::INFINITY, f64::min);
        let mut objective = vec![0.0; unknowns];
        let mut rows = vec![vec![0.0; unknowns]];
        for (at, &profile) in profiles.iter().enumerate() {
            objective[at] = worth[at] + lift;
            rows[0][at] = 1.0;
            for agent in 0..self.costs.len() {
                for signals in 0..joint {
                    for state in 0..states {
                        let place = self.place(profiles.len(), [agent, at, signals, state]);
                        objective[place] = -self.prior[state] * self.law[profile][state][signals];
                        let mut row = vec![0.0; unknowns];
                        (row[place], row[at]) = (1.0, -most_pay);
                        rows.push(row);
                    }
                }
            }
        }
        let mut bound = bounds_at;
        for agent in 0..self.costs.len() {
            for told in 0..efforts[agent] {
                let members = |&(_, profile): &(usize, &usize)| digits(*profile, &efforts)[agent] == told;
                let members: Vec<(usize, &usize)> = profiles.iter().enumerate().filter(members).collect();
                for effort in 0..efforts[agent] {
                    let own = self.signals[agent];
                    for (signal, report) in (0..own).flat_map(|signal| (0..own).map(move |report| (signal, report))) {
                        let mut row = vec![0.0; unknowns];
                        row[bound + signal] = -1.0;
                        for &(at, &profile) in &members {
                            let mut plays = digits(profile, &efforts);
                            plays[agent] = effort;
                            let law = &self.law[number(&plays, &efforts)];
                            for seen in 0..joint {
                                let mut reports = digits(seen, &self.signals);
                                if reports[agent] == signal {
                                    reports[agent] = report;
                                    let reports = number(&reports, &self.signals);
                                    for (state, law) in law.iter().enumerate() {
                                        let place = self.place(profiles.len(), [agent, at, reports, state]);
                                        row[place] += self.prior[state] * law[seen];
                                    }
                                }
                            }
                        }
                        rows.push(row);
                    }
                    let mut row = vec![0.0; unknowns];
                    (0..own).for_each(|signal| row[bound + signal] = 1.0);
                    for &(at, &profile) in &members {
                        let ahead = if effort == told { 0.0 } else { margin };
                        row[at] = self.costs[agent][told] - self.costs[agent][effort] + ahead;
                        for signals in 0..joint {
                            for state in 0..states {
                                let place = self.place(profiles.len(), [agent, at, signals, state]);
                                row[place] -= self.prior[state] * self.law[profile][state][signals];
                            }
                        }
                    }
                    rows.push(row);
                    bound += own;
                }
            }
        }
        let mut limits = vec![0.0; rows.len()];
        limits[0] = 1.0;
        maximise(&objective, &rows, &limits)
    }

    fn efforts(&self) -> Vec<usize> {
        self.costs.iter().map(Vec::len).collect()
    }

    /// The action of largest expected payoff for each joint signal of a profile; the first of equals.
    fn best_actions(&self, profile: usize) -> Vec<usize> {
        let best = |signals: usize| {
            let gain = |action: usize| self.gain(profile, signals, action);
            (0..self.payoff.len()).fold(0, |best, action| if gain(action) > gain(best) { action } else { best })
        };
        (0..self.joint_signals()).map(best).collect()
    }

    /// The payoff of an action times the chance of a joint signal.
    fn gain(&self, profile: usize, signals: usize, action: usize) -> f64 {
        let states = self.prior.iter().zip(&self.law[profile]).zip(&self.payoff[action]);
        sum(states.map(|((prior, law), payoff)| prior * law[signals] * payoff))
    }

    /// The expected payoff of a profile that is followed.
    fn gross(&self, profile: usize, act: &[usize]) -> f64 {
        sum(act.iter().enumerate().map(|(signals, &action)| self.gain(profile, signals, action)))
    }

    /// `[signal][report]`: what an agent expects to be paid, times the chance of signal and recommendation, who is told one
    /// effort and makes another.
    fn pays(&self, mechanism: &Mechanism, agent: usize, told: usize, effort: usize) -> Vec<Vec<f64>> {
        let (efforts, own) = (self.efforts(), self.signals[agent]);
        let mut table = vec![vec![0.0; own]; own];
        for (profile, chance) in mechanism.recommend.iter().enumerate() {
            let mut plays = digits(profile, &efforts);
            if *chance == 0.0 || plays[agent] != told {
                continue;
            }
            plays[agent] = effort;
            let law = &self.law[number(&plays, &efforts)];
            for seen in 0..self.joint_signals() {
                let mut reports = digits(seen, &self.signals);
                let row = &mut table[reports[agent]];
                for (report, entry) in row.iter_mut().enumerate() {
                    reports[agent] = report;
                    let pay = &mechanism.pay[agent][profile][number(&reports, &self.signals)];
                    let states = self.prior.iter().zip(law).zip(pay);
                    *entry += chance * sum(states.map(|((prior, law), pay)| prior * law[seen] * pay));
                }
            }
        }
        table
    }

    /// `[agent][told]`: best replies to the honesty of the others.
    fn replies(&self, mechanism: &Mechanism) -> Vec<Vec<Reply>> {
        let of_agent = |(agent, costs): (usize, &Vec<f64>)| -> Vec<Reply> {
            (0..costs.len()).map(|told| self.reply(mechanism, agent, told)).collect()
        };
        self.costs.iter().enumerate().map(of_agent).collect()
    }

    fn reply(&self, mechanism: &Mechanism, agent: usize, told: usize) -> Reply {
        let efforts = self.efforts();
        let chances = mechanism.recommend.iter().enumerate();
        let chance = sum(chances.filter(|(at, _)| digits(*at, &efforts)[agent] == told).map(|(_, chance)| *chance));
        let costs = &self.costs[agent];
        let truth: Vec<usize> = (0..self.signals[agent]).collect();
        let worth = |table: &[Vec<f64>], reports: &[usize], effort: usize| {
            sum(table.iter().zip(reports).map(|(row, &report)| row[report])) - chance * costs[effort]
        };
        let honest = worth(&self.pays(mechanism, agent, told, told), &truth, told);
        let mut best = Reply { effort: told, reports: truth, gain: 0.0 };
        for effort in 0..costs.len() {
            let table = self.pays(mechanism, agent, told, effort);
            let better = |(signal, row): (usize, &Vec<f64>)| {
                (0..row.len()).fold(signal, |best, report| if row[report] > row[best] { report } else { best })
            };
            let reports: Vec<usize> = table.iter().enumerate().map(better).collect();
            let gain = worth(&table, &reports, effort) - honest;
            if gain > best.gain + ROUNDING {
                best = Reply { effort, reports, gain };
            }
        }
        best
    }

    /// Payoff less payments when agents reply so.
    fn value(&self, mechanism: &Mechanism, replies: &[Vec<Reply>]) -> f64 {
        let efforts = self.efforts();
        let mut terms = Vec::new();
        for (profile, chance) in mechanism.recommend.iter().enumerate().filter(|(_, chance)| **chance > 0.0) {
            let told = digits(profile, &efforts);
            let reply: Vec<&Reply> = replies.iter().zip(&told).map(|(replies, &told)| &replies[told]).collect();
            let plays: Vec<usize> = reply.iter().map(|reply| reply.effort).collect();
            let law = &self.law[number(&plays, &efforts)];
            for seen in 0..self.joint_signals() {
                let seen_by = digits(seen, &self.signals);
                let reports: Vec<usize> =
                    reply.iter().zip(&seen_by).map(|(reply, &signal)| reply.reports[signal]).collect();
                let reports = number(&reports, &self.signals);
                let payoff = &self.payoff[mechanism.act[profile][reports]];
                for (state, (law, payoff)) in law.iter().zip(payoff).enumerate() {
                    let paid = sum(mechanism.pay.iter().map(|pay| pay[profile][reports][state]));
                    terms.push(chance * self.prior[state] * law[seen] * (payoff - paid));
                }
            }
        }
        sum(terms)
    }

    fn checked(&self) -> Result<(), EvalError> {
        law("prior", &self.prior)?;
        option("agents", "at least 1", self.costs.len() as f64, !self.costs.is_empty())?;
        for costs in &self.costs {
            finite("costs", costs)?;
        }
        same_length("signals", self.costs.len(), self.signals.len())?;
        option("signals of an agent", "at least 1", 0.0, !self.signals.contains(&0))?;
        same_length("the law by profiles", self.profiles(), self.law.len())?;
        for by_state in &self.law {
            same_length("the law by states", self.prior.len(), by_state.len())?;
            for row in by_state {
                same_length("the law of joint signals", self.joint_signals(), row.len())?;
                law("the law of joint signals", row)?;
            }
        }
        not_empty("the payoffs", &self.payoff)?;
        for payoff in &self.payoff {
            finite("a payoff", payoff)?;
            same_length("a payoff", self.prior.len(), payoff.len())?;
        }
        Ok(())
    }

    fn checked_mechanism(&self, mechanism: &Mechanism) -> Result<(), EvalError> {
        self.checked()?;
        law("the recommendations", &mechanism.recommend)?;
        same_length("the recommendations", self.profiles(), mechanism.recommend.len())?;
        same_length("pay by agents", self.costs.len(), mechanism.pay.len())?;
        for by_profile in &mechanism.pay {
            same_length("pay by profiles", self.profiles(), by_profile.len())?;
            for by_report in by_profile {
                same_length("pay by joint reports", self.joint_signals(), by_report.len())?;
                for pay in by_report {
                    finite("pay", pay)?;
                    same_length("pay by states", self.prior.len(), pay.len())?;
                }
            }
        }
        same_length("actions by profiles", self.profiles(), mechanism.act.len())?;
        for act in &mechanism.act {
            same_length("actions by joint reports", self.joint_signals(), act.len())?;
            let most = act.iter().copied().max().unwrap_or_default();
            option("an action", "one of the payoffs", most as f64, most < self.payoff.len())?;
        }
        Ok(())
    }
}

/// The digits of a number, the first counting 1.
fn digits(mut code: usize, sizes: &[usize]) -> Vec<usize> {
    let digit = |size: &usize| {
        let digit = code % size;
        code /= size;
        digit
    };
    sizes.iter().map(digit).collect()
}

/// The number of these digits.
fn number(digits: &[usize], sizes: &[usize]) -> usize {
    digits.iter().zip(sizes).rev().fold(0, |code, (digit, size)| code * size + digit)
}

/// At least 0, summing to 1 within 1e-9.
fn law(what: &'static str, law: &[f64]) -> Result<(), EvalError> {
    within(what, law, "at least 0", |p| p >= 0.0)?;
    let total = sum(law.iter().copied());
    option(what, "a table that sums to 1 within 1e-9", total, (total - 1.0).abs() <= 1e-9)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A fair coin; effort 1 (cost 0.1) sees it, effort 0 sees noise. The principal gains 1 by naming it.
    pub fn coin() -> AcquisitionGame {
        AcquisitionGame {
            prior: vec![0.5, 0.5],
            costs: vec![vec![0.0, 0.1]],
            signals: vec![2],
            law: vec![vec![vec![0.5, 0.5]; 2], vec![vec![1.0, 0.0], vec![0.0, 1.0]]],
            payoff: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
        }
    }

    /// Recommends effort, and pays a wage for a right report.
    fn wage(wage: f64) -> Mechanism {
        let right = vec![vec![wage, 0.0], vec![0.0, wage]];
        Mechanism { recommend: vec![0.0, 1.0], pay: vec![vec![right.clone(), right]], act: vec![vec![0, 1]; 2] }
    }

    /// Two agents who are right with chance 0.55, or 0.85 for 0.06; `common` of the time they err together.
    pub fn two_agents(common: f64) -> AcquisitionGame {
        let table = |accuracy: [f64; 2]| {
            let [a, b] = accuracy;
            let both = common * a.min(b) + (1.0 - common) * a * b;
            // By which of the two are right, the first counting 1.
            let chances = [1.0 - a - b + both, a - both, b - both, both];
            let row = |state: usize| -> Vec<f64> {
                let right = |signals: usize, agent: usize| (signals >> agent) & 1 == state;
                (0..4)
                    .map(|signals| chances[usize::from(right(signals, 0)) + 2 * usize::from(right(signals, 1))])
                    .collect()
            };
            vec![row(0), row(1)]
        };
        let accuracy = |effort: usize| [0.55, 0.85][effort];
        AcquisitionGame {
            prior: vec![0.5, 0.5],
            costs: vec![vec![0.0, 0.06]; 2],
            signals: vec![2, 2],
            law: (0..4).map(|profile| table([accuracy(profile % 2), accuracy(profile / 2)])).collect(),
            payoff: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
        }
    }

    #[test]
    fn enough_pay_makes_effort_a_best_reply() {
        // Honest: 0.3 - 0.1. Best other: no effort for 0.15.
        assert_eq!(coin().incentive_violation(&wage(0.3)).unwrap(), 0.0);
        assert!((coin().principal_value(&wage(0.3)).unwrap() - 0.7).abs() < 1e-12);
        assert!((coin().replied_value(&wage(0.3)).unwrap() - 0.7).abs() < 1e-12);
        // Honest: 0; no effort: 0.05. Then the report is noise: 0.5 less half of the wage.
        assert!((coin().incentive_violation(&wage(0.1)).unwrap() - 0.05).abs() < 1e-12);
        assert!((coin().principal_value(&wage(0.1)).unwrap() - 0.9).abs() < 1e-12);
        assert!((coin().replied_value(&wage(0.1)).unwrap() - 0.45).abs() < 1e-12);
        // Who is paid for wrong reports turns them around: 0.3 - 0.1 against -0.1.
        let mut turned = wage(0.3);
        turned.pay[0][1].reverse();
        assert!((coin().incentive_violation(&turned).unwrap() - 0.3).abs() < 1e-12);
    }

    /// Effort pays where `w - 0.1 >= w/2`: a wage of 0.2, which leaves 0.8; with a margin of 0.05 a wage of 0.3. Without
    /// effort the coin is guessed for 0.5.
    #[test]
    fn the_linear_program_pays_no_more_than_it_must() {
        let best = |margin, profiles: &[usize]| coin().best_mechanism(10.0, margin, profiles);
        let mechanism = best(0.0, &[0, 1]).unwrap();
        assert!((mechanism.recommend[1] - 1.0).abs() < 1e-9);
        assert!((coin().principal_value(&mechanism).unwrap() - 0.8).abs() < 1e-9);
        assert_eq!(coin().incentive_violation(&mechanism).unwrap(), 0.0);
        let ahead = best(0.05, &[0, 1]).unwrap();
        assert!((coin().principal_value(&ahead).unwrap() - 0.7).abs() < 1e-9);
        let idle = best(0.0, &[0]).unwrap();
        assert!((coin().principal_value(&idle).unwrap() - 0.5).abs() < 1e-9);
        // A wage of 0.1 is not enough.
        let error = coin().best_mechanism(0.1, 0.0, &[1]).unwrap_err();
        assert!(error.to_string().contains("pay more or ask for less"), "{error}");
    }

    /// Alone, an agent needs a wage of 0.06/0.3 = 0.2 for a right report: 0.85 - 0.17 = 0.68. Where the two err together,
    /// what the other one reports says more: at most 0.7 by one profile, and more by a mixture in which both work now and
    /// then. The values are those of a Python program with a table of its own.
    #[test]
    fn correlated_efforts_are_worth_more_than_any_profile() {
        let value = |game: &AcquisitionGame, profiles: &[usize]| {
            let mechanism = game.best_mechanism(5.0, 0.0, profiles).unwrap();
            assert!(game.incentive_violation(&mechanism).unwrap() < 1e-7, "{profiles:?}");
            game.principal_value(&mechanism).unwrap()
        };
        let all = [0, 1, 2, 3];
        assert!((value(&two_agents(0.0), &all) - 0.68).abs() < 1e-6);
        for (common, mixed) in [(0.5, 0.707_98), (0.9, 0.715_83)] {
            let game = two_agents(common);
            let alone = all.map(|profile| value(&game, &[profile]));
            for (alone, due) in alone.iter().zip([0.55, 0.7, 0.7, 0.51]) {
                assert!((alone - due).abs() < 1e-6, "{common}: {alone}");
            }
            assert!((value(&game, &all) - mixed).abs() < 1e-4, "{common}: {}", value(&game, &all));
        }
    }

    #[test]
    fn bad_input_is_refused() {
        let broken = AcquisitionGame { prior: vec![0.5, 0.4], ..coin() };
        assert!(matches!(broken.principal_value(&wage(0.3)), Err(EvalError::Range { .. })));
        let short = AcquisitionGame { law: vec![vec![vec![0.5, 0.5]; 2]], ..coin() };
        assert!(matches!(short.best_mechanism(1.0, 0.0, &[0]), Err(EvalError::Length { .. })));
        assert!(matches!(coin().incentive_violation(&wage(f64::NAN)), Err(EvalError::NotFinite { .. })));
        let mut acts = wage(0.3);
        acts.act[0][1] = 2;
        assert!(matches!(coin().principal_value(&acts), Err(EvalError::Range { name: "an action", .. })));
        assert!(matches!(coin().best_mechanism(0.0, 0.0, &[1]), Err(EvalError::Range { name: "most_pay", .. })));
        assert!(matches!(coin().best_mechanism(1.0, -1.0, &[1]), Err(EvalError::Range { name: "margin", .. })));
        assert!(matches!(coin().best_mechanism(1.0, 0.0, &[2]), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(coin().best_mechanism(1.0, 0.0, &[]), Err(EvalError::Empty { .. })));
    }
}
