"""One way for every call that can cost something: opened, agreed to, carried out, recorded."""
