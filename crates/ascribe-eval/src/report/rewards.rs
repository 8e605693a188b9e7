//! Over-optimisation: rewards against the distance from the reference policy, with their fits.

use std::fmt::Write;
use std::iter;

use super::axis::{Axis, Spacing};
use super::lines::{curve, drawable};
use super::plot::{
    Block, Labels, NARROW, Plot, Size, WIDE, Y_INTERVALS, along, colour, dash, key, left_out, mark, no_data, note,
    pixel, svg,
};
use super::table::{Column, Table};
use super::text::{count, escape, number};
use crate::curve::{OverOptimization, OverOptimizationFit};

/// Rewards over the reference against the distance `sqrt(KL)`: points for what was measured, lines for the fits of
/// [`fit_over_optimization`](crate::curve::fit_over_optimization), and a ring at the peak of a fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RewardCurves {
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// The rewards, such as proxy and gold, in the order of the key.
    pub curves: Vec<RewardCurve>,
}

/// One reward over the distance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RewardCurve {
    /// What the reward is called.
    pub name: String,
    /// (distance, reward over the reference).
    pub points: Vec<(f64, f64)>,
    /// The curve that was fitted to the points.
    pub fit: Option<OverOptimizationFit>,
}

/// Pieces that a fit is drawn with.
const PIECES: usize = 96;

impl RewardCurves {
    pub(super) fn to_html(&self, id: &str, title: &str) -> String {
        let (Some(wide), Some(narrow)) = (self.draw(&WIDE, id, title), self.draw(&NARROW, id, title)) else {
            return no_data();
        };
        let key = key(self.curves.iter().enumerate().map(|(at, one)| (at, one.name.as_str())), "", true);
        let reach = self.reach();
        let fits: String = self.curves.iter().filter_map(|one| one.fitted(reach)).map(|text| note("", &text)).collect();
        let all: usize = self.curves.iter().map(|one| one.points.len()).sum();
        let shown: usize = self.curves.iter().map(|one| one.shown().count()).sum();
        format!("{key}{wide}{narrow}{fits}{}{}", note("", &left_out(all - shown)), self.values())
    }

    /// The largest distance of a point.
    fn reach(&self) -> f64 {
        self.curves.iter().flat_map(RewardCurve::shown).fold(0.0_f64, |reach, (distance, _)| reach.max(distance))
    }

    fn draw(&self, size: &Size, id: &str, title: &str) -> Option<String> {
        let points = || self.curves.iter().flat_map(RewardCurve::shown);
        points().next()?;
        let reach = self.reach();
        let lines: Vec<Vec<(f64, f64)>> = self.curves.iter().map(|one| one.line(reach)).collect();
        let distances = iter::once(0.0).chain(points().map(|(distance, _)| distance));
        let x = Axis::over(distances, Spacing::Linear, 0.02, size.x_intervals)?;
        let numbered = self.curves.iter().enumerate();
        let peaks: Vec<(usize, (f64, f64))> = numbered.filter_map(|(at, one)| Some((at, one.peak(reach)?))).collect();
        let highest = peaks.iter().map(|(_, peak)| *peak);
        let heights = points().chain(lines.iter().flatten().copied()).chain(highest).map(|(_, reward)| reward);
        let y = Axis::over(heights, Spacing::Linear, 0.05, Y_INTERVALS)?;
        let plot = Plot::new(size, &y, 16.0);
        let place = |(distance, reward): (f64, f64)| (plot.x(&x, distance), plot.y(&y, reward));

        let mut drawn = plot.axes(size, (&x, &self.x_label), (&y, &self.y_label));
        let (mut taken, mut avoided) = (vec![Plot::name_block(&self.y_label)], Vec::new());
        for (at, (one, line)) in self.curves.iter().zip(&lines).enumerate() {
            let _ = write!(drawn, r#"<g class="{}">"#, colour(at));
            let placed: Vec<Option<(f64, f64)>> = line.iter().copied().map(place).map(Some).collect();
            drawn += &curve(&placed, "curve", &dash(at));
            for pair in line.windows(2) {
                avoided.extend(along(place(pair[0]), place(pair[1])));
            }
            for (px, py) in one.shown().map(place) {
                drawn += &mark(at, px, py);
                taken.push(Block([px - 6.0, py - 6.0, px + 6.0, py + 6.0]));
            }
            drawn += "</g>";
        }
        taken.extend(peaks.iter().map(|(_, peak)| {
            let (px, py) = place(*peak);
            Block([px - 7.0, py - 7.0, px + 7.0, py + 7.0])
        }));
        let bounds = [plot.left, 0.0, plot.right, plot.bottom];
        let mut labels = Labels { bounds, points: Vec::new(), taken, avoided };
        for (at, peak) in peaks {
            let (px, py) = place(peak);
            let [cx, cy] = [px, py].map(pixel);
            let _ = write!(drawn, r#"<circle class="best {}" cx="{cx}" cy="{cy}" r="6.5"/>"#, colour(at));
            drawn += &labels.beside(px, py, at, &number(peak.1)).unwrap_or_default();
        }
        Some(svg(size, id, title, &self.description(), &drawn))
    }

    fn description(&self) -> String {
        let (curves, x, y) = (count(self.curves.len(), "reward"), &self.x_label, &self.y_label);
        format!("{curves}: {y} against {x}. The values below the figure say the same in numbers.")
    }

    /// The figure as a table, for those who cannot see it.
    fn values(&self) -> String {
        let columns = vec![Column::left("reward"), Column::right("distance"), Column::right("value")];
        let rows = self.curves.iter().flat_map(|one| {
            one.points.iter().map(|(distance, reward)| vec![one.name.clone(), number(*distance), number(*reward)])
        });
        Table { columns, rows: rows.collect() }.folded(&escape(&self.y_label))
    }
}

impl RewardCurve {
    /// The points that can be drawn; a distance is never below 0.
    fn shown(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().copied().filter(|point| drawable(point) && point.0 >= 0.0)
    }

    /// The fit from 0 to `reach`.
    fn line(&self, reach: f64) -> Vec<(f64, f64)> {
        let Some(fit) = &self.fit else { return Vec::new() };
        let at = |piece: usize| reach * piece as f64 / PIECES as f64;
        (0..=PIECES).map(at).map(|distance| (distance, fit.at(distance))).filter(drawable).collect()
    }

    /// The peak of the fit, where it lies within `reach`.
    fn peak(&self, reach: f64) -> Option<(f64, f64)> {
        self.fit.as_ref()?.peak().filter(|peak| drawable(peak) && peak.0 <= reach)
    }

    /// The fit in words; `None` where there is none.
    fn fitted(&self, reach: f64) -> Option<String> {
        let fit = self.fit.as_ref()?;
        let (sign, bend) = if fit.beta < 0.0 { ("+", -fit.beta) } else { ("\u{2212}", fit.beta) };
        let (slope, bend) = (number(fit.alpha), number(bend));
        let form = match fit.form {
            OverOptimization::BestOfN => format!("d ({slope} {sign} {bend} d)"),
            OverOptimization::Rl => format!("d ({slope} {sign} {bend} ln d)"),
            OverOptimization::QuadraticInKl => format!("{slope} d\u{B2} {sign} {bend} d\u{2074}"),
        };
        let peak = match (fit.peak(), self.peak(reach)) {
            (_, Some((at, height))) => format!("its peak is {} at {}", number(height), number(at)),
            (Some((at, _)), None) => format!("its peak at {} lies beyond the points", number(at)),
            (None, None) => "it has no peak".into(),
        };
        let (n, error) = (count(fit.n, "point"), number(fit.rmse));
        Some(format!("{}: {form} over {n}, root mean square residual {error}; {peak}.", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Saturated, fit_over_optimization};

    /// d (1.5 - 0.3 d): the peak is 1.5/0.6 = 2.5 and 1.5^2/1.2 = 1.875.
    #[test]
    fn a_fit_is_drawn_and_said() {
        let distances = [0.0, 0.5, 1.0, 2.0, 4.0];
        let gold: Vec<f64> = distances.iter().map(|d| d * (1.5 - 0.3 * d)).collect();
        let fit = fit_over_optimization(&distances, &gold, None, OverOptimization::BestOfN, Saturated::Refuse).unwrap();
        let points: Vec<(f64, f64)> = distances.into_iter().zip(gold).collect();
        let name = String::from("gold");
        let curve = RewardCurve { name: name.clone(), points: points.clone(), fit: Some(fit) };
        let html = RewardCurves { curves: vec![curve], ..RewardCurves::default() }.to_html("f", "t");
        assert!(html.contains("gold: d (1.5 \u{2212} 0.3 d) over 4 points, "), "{html}");
        assert!(html.contains("; its peak is 1.875 at 2.5."), "{html}");
        assert_eq!(html.matches("<circle class=\"best c0\"").count(), 2);
        // Up to a distance of 2 the peak is not reached.
        let short = RewardCurve { name, points: points[..4].to_vec(), fit: Some(fit) };
        let html = RewardCurves { curves: vec![short], ..RewardCurves::default() }.to_html("f", "t");
        assert!(html.contains("; its peak at 2.5 lies beyond the points.") && !html.contains("class=\"best"), "{html}");
    }

    #[test]
    fn a_reward_that_bends_up_has_no_peak() {
        let fit = OverOptimizationFit {
            form: OverOptimization::Rl,
            alpha: 1.0,
            beta: -0.5,
            errors: None,
            rmse: 0.0,
            aic: None,
            n: 3,
            dropped: 0,
        };
        let curve = RewardCurve { name: "proxy".into(), points: vec![(1.0, 1.0)], fit: Some(fit) };
        let expected = "proxy: d (1 + 0.5 ln d) over 3 points, root mean square residual 0; it has no peak.";
        assert_eq!(curve.fitted(1.0).as_deref(), Some(expected));
    }

    #[test]
    fn points_without_a_place_are_counted() {
        let points = vec![(-1.0, 0.5), (1.0, f64::NAN), (1.0, 0.5)];
        let curves = vec![RewardCurve { name: "gold".into(), points, fit: None }];
        let html = RewardCurves { curves, ..RewardCurves::default() }.to_html("f", "t");
        assert!(html.contains("2 points have no place on the axes and are left out."));
    }
}
