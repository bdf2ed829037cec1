//! From YAML or JSON text to objects.
