//! The codec, byte for byte.
