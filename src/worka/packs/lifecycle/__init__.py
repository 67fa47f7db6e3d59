"""What becomes of packs after their release: where one comes from and who uses it (lineage), what hangs on it (reach),
how good it is (grade), what is in it (SBOM, advisories), and how it is taken away and given back (withdrawals).

Everything here reads what registration, attachment and calls left behind. What it changes are the states of releases and
attachments, each with a receipt that is written in the same commit.
"""
