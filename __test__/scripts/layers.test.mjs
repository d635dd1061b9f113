import assert from 'node:assert/strict';
import { test } from 'node:test';
import { layerProblems } from '../../scripts/layers.mjs';

const problems = (path, code) => layerProblems(path, code).length;

test('a module may use lower floors and its own room', () => {
  assert.deepEqual(layerProblems('src/session.rs', 'use crate::{wire::Wire, backend::{Backend, Verdict}};\nuse crate::limits::Limits;'), []);
  assert.deepEqual(layerProblems('src/backend/memory.rs', 'use super::Verdict;\nuse crate::model::mailbox::Mailbox;'), []);
  assert.deepEqual(layerProblems('src/node/mod.rs', 'use napi_derive::napi;\nuse crate::relay::Relay;'), []);
});

test('a module may not use a higher floor', () => {
  assert.deepEqual(layerProblems('src/limits.rs', 'use crate::session::Session;'), [
    'src/limits.rs: `limits` uses `session`, which is not on a lower floor.',
  ]);
  assert.equal(problems('src/model/lane.rs', 'use crate::{\n  ids::Seq,\n  backend::{self, Backend},\n};'), 1);
  assert.equal(problems('src/model/lane.rs', 'fn f() { crate::session::f(); crate::wire::f() }'), 2);
  assert.equal(problems('src/model/lane.rs', 'use super::super::session::Session;'), 1);
  assert.equal(problems('src/wire.rs', 'use super::relay;'), 1);
});

test('a module may not use another room of its floor', () => {
  assert.equal(problems('src/protocol/decode.rs', 'use crate::model::registry::Registry;'), 1);
});

test('only the binding may name napi', () => {
  assert.deepEqual(layerProblems('src/wire.rs', '#[napi]\nfn f() {}'), ['src/wire.rs: only src/node/ may name `napi`.']);
  assert.equal(problems('src/wire.rs', 'use napi::bindgen_prelude::*;'), 1);
});

test('what comments and strings name does not count', () => {
  const code = `
    //! napi and crate::relay
    /* crate::relay */
    const A: char = '"'; const B: &str = "crate::relay"; const C: &str = r#"crate::relay " napi"#;
    fn f<'a>(x: &'a str) -> char { '"' }`;
  assert.deepEqual(layerProblems('src/wire.rs', code), []);
  assert.equal(problems('src/wire.rs', `const A: char = '"'; use crate::relay::Relay; const B: char = '"';`), 1);
});

test('a module without a floor is refused', () => {
  assert.deepEqual(layerProblems('src/extra/mod.rs', ''), [
    'src/extra/mod.rs: the module `extra` has no floor; give it one in scripts/layers.mjs.',
  ]);
});
