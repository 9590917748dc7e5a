"""How answers are got: each request asked once, recorded before it is read, retried where that helps."""
