//! Shared by all benches: named cases, one of which is run a number of times.

use std::env::args;

/// The name of a case, and one iteration of it.
pub type Case = (String, Box<dyn FnMut()>);

/// Returns a case.
pub fn case(name: impl Into<String>, iteration: impl FnMut() + 'static) -> Case {
    (name.into(), Box::new(iteration))
}

/// Runs a bench: `codec` prints the names of the cases, a line each; `codec 3 1000` runs the fourth case a thousand times
/// and prints nothing, for `bench/instructions.mjs` to count its instructions.
pub fn run(mut cases: Vec<Case>) {
    // Cargo adds arguments that begin with dashes.
    let numbers: Vec<usize> = args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    match *numbers {
        [case, iterations] => (0..iterations).for_each(|_| cases[case].1()),
        _ => cases.iter().for_each(|(name, _)| println!("{name}")),
    }
}
