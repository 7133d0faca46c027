"""The intermediate representation: sizes with their origins, and the typed graph of a model."""
