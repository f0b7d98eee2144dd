"""What an operator does to a run from its root alone: no Ray, no engine, no model is loaded here."""
