//! The HTTP/1.1 codec from outside: raw bytes case by case, and against another reader.
mod differential;
mod table;
