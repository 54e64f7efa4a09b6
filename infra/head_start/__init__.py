"""Training that begins while Ray and its lanes come up."""
