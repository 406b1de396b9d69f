//! The QXL device side: guest memory behind memslots, parsing of QXL commands into owned values,
//! release tokens, recordings. The only place besides `capi` that holds `unsafe` code.
