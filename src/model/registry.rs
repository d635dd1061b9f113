//! Who exists, with which token.

use rustc_hash::FxHashMap;

use crate::ids::{ClientId, Token};

/// The registered clients, each with a `T` of its own.
#[derive(Debug)]
pub struct Registry<T> {
    next: ClientId,
    /// What an unknown id is compared with, so that it takes as long as a wrong token.
    decoy: Token,
    /// The ids are ours, so nobody can choose them to collide.
    clients: FxHashMap<ClientId, (Token, T)>,
}

impl<T> Registry<T> {
    /// An empty registry; `decoy` is a token that nobody is given.
    pub fn new(decoy: Token) -> Self {
        Self { next: ClientId::default(), decoy, clients: FxHashMap::default() }
    }

    /// Adds a client and returns its id: 0 for the first, then 1, and so on.
    pub fn register(&mut self, token: Token, client: T) -> ClientId {
        let id = self.next;
        self.next = id.next();
        self.clients.insert(id, (token, client));
        id
    }

    /// The client with this id.
    pub fn get(&self, id: ClientId) -> Option<&T> {
        self.clients.get(&id).map(|(_, client)| client)
    }

    /// The client with this id, if `token` is its token. An unknown id and a wrong token take equally long.
    pub fn authenticate(&self, id: ClientId, token: &str) -> Option<&T> {
        let known = self.clients.get(&id);
        let matches = known.map_or(&self.decoy, |(token, _)| token).matches(token);
        known.filter(|_| matches).map(|(_, client)| client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_token_opens() {
        let token = || Token::random().expect("randomness");
        let (decoy, first, second) = (token(), token(), token());
        let mut registry = Registry::new(decoy.clone());
        let ids = [first.clone(), second.clone()].map(|token| registry.register(token, ()));
        assert_eq!(ids.map(ClientId::get), [0, 1]);
        assert!(registry.authenticate(ids[0], first.reveal()).is_some());
        assert!(registry.authenticate(ids[0], second.reveal()).is_none());
        assert!(registry.authenticate(ids[1].next(), decoy.reveal()).is_none());
        assert!(registry.authenticate(ids[0], "").is_none());
    }
}
