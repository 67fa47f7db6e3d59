"""How mail is handed over: SMTP, spoken through the broker's tunnel."""
