//! Encoders, decoders and the text encoder, with weights in and out.
