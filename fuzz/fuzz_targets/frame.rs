#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| websocket_relay_fuzz::frame::run(input));
