"""One call over several providers: who is asked, retried, skipped, and what follows."""
