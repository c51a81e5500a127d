"""Models that answer over HTTP: how one is named, what it is sent and answers, what it costs, its embedder."""
