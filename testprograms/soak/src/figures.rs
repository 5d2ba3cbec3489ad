//! Shares that profiles show, and how far chance takes them from the truth.

use everprof_profile::{Profile, Sample, pprof};

/// What a profile says of a pair of sites in one window of time, and what is true.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    pub truth: [f64; 2],
    pub seen: [f64; 2],
}

/// The share of the first site over all windows, and its standard deviation as they differ
/// (the ratio estimator's: Cochran, Sampling Techniques, 6.4).
pub fn share(windows: &[Window]) -> Option<(f64, f64)> {
    let sum = |of: fn(&Window) -> f64| windows.iter().map(of).sum::<f64>();
    let all = sum(|window| window.seen[0] + window.seen[1]);
    if all == 0.0 || windows.len() < 2 {
        return None;
    }
    let share = sum(|window| window.seen[0]) / all;
    let count = windows.len() as f64;
    let squares = windows
        .iter()
        .map(|window| (window.seen[0] - share * (window.seen[0] + window.seen[1])).powi(2));
    let sigma = (squares.sum::<f64>() * count / (count - 1.0)).sqrt() / all;
    Some((share, sigma))
}

/// Everything seen ÷ everything that was, and its standard deviation likewise.
pub fn whole(windows: &[Window]) -> Option<(f64, f64)> {
    let truth = |window: &Window| window.truth[0] + window.truth[1];
    let seen = |window: &Window| window.seen[0] + window.seen[1];
    let all: f64 = windows.iter().map(truth).sum();
    if all == 0.0 || windows.len() < 2 {
        return None;
    }
    let ratio = windows.iter().map(seen).sum::<f64>() / all;
    let count = windows.len() as f64;
    let squares = windows
        .iter()
        .map(|window| (seen(window) - ratio * truth(window)).powi(2));
    let sigma = (squares.sum::<f64>() * count / (count - 1.0)).sqrt() / all;
    Some((ratio, sigma))
}

/// The true share of the first site.
pub fn true_share(windows: &[Window]) -> f64 {
    let sum = |side: usize| windows.iter().map(|window| window.truth[side]).sum::<f64>();
    sum(0) / (sum(0) + sum(1))
}

/// Prints a figure; `truth` is `None` where the service knows of none.
pub fn print(name: &str, truth: Option<f64>, (seen, sigma): (f64, f64)) {
    let truth = truth.map_or("-".to_owned(), |truth| format!("{truth:.6}"));
    println!("figure {name} {truth} {seen:.6} {sigma:.6}");
}

/// A profile as others read it.
pub fn read(profile: &everprof::profile::Profile) -> Profile {
    let mut bytes = Vec::new();
    profile
        .write_to(&mut bytes)
        .expect("memory can be written to");
    pprof::decode(&bytes, &pprof::Limits::default()).expect("what everprof has written")
}

/// The sums of a value over the samples with each of two functions in their stacks.
pub fn of_sites(profile: &Profile, value: usize, sites: [&str; 2]) -> [f64; 2] {
    sums(profile, value, |sample| {
        let mut functions = sample
            .stack()
            .flat_map(|at| profile.location(at).lines)
            .map(|line| profile.function(line.function).name);
        functions.find_map(|name| sites.iter().position(|site| name.ends_with(site)))
    })
}

/// The sums of a value over the samples that `which` gives one of two numbers.
pub fn sums(
    profile: &Profile,
    value: usize,
    which: impl Fn(&Sample<'_>) -> Option<usize>,
) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for sample in profile.samples() {
        if let Some(side) = which(&sample) {
            sums[side] += sample.values()[value] as f64;
        }
    }
    sums
}
