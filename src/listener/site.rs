//! What is found where on the port.

/// What HTTP requests find.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// The only path where WebSockets are opened; every one where there is none.
    pub path: Option<String>,
}

impl Site {
    /// Whether WebSockets are opened at this target of a request.
    pub fn is_at(&self, target: &str) -> bool {
        self.path.as_ref().is_none_or(|path| path == path_of(target))
    }
}

/// A target without its query.
fn path_of(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}
