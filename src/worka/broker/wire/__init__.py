"""The broker's protocols without sockets: bytes in, events out, and what is written of them. Pure, tested as transcripts."""
