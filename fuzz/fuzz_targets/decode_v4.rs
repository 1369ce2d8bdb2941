#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::decode_v4(input));
