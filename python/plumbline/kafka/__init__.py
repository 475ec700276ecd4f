"""Groups that a rank reads from Kafka itself. docs/feed.md has what is promised."""
