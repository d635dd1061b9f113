//! What all benches have in common: named cases, of which one is run so many times.

use std::env::args;

/// A case: its name, and what one iteration does.
pub type Case = (String, Box<dyn FnMut()>);

/// Makes a case.
pub fn case(name: impl Into<String>, iteration: impl FnMut() + 'static) -> Case {
    (name.into(), Box::new(iteration))
}

/// `codec` prints the names of the cases, a line each; `codec 3 1000` runs the fourth a thousand times and prints
/// nothing. `bench/instructions.mjs` counts what that takes.
pub fn run(mut cases: Vec<Case>) {
    // What cargo adds by itself begins with dashes.
    let numbers: Vec<usize> = args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    match *numbers {
        [case, iterations] => (0..iterations).for_each(|_| cases[case].1()),
        _ => cases.iter().for_each(|(name, _)| println!("{name}")),
    }
}
