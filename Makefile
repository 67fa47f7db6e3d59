# One command runs it, one tests it. Each sets up by itself what it needs; the second time that takes a blink.
# Variables, before or after `make`: ARGS (pytest's), CODE (a capability), SEEDS, ROWS, UPGRADE=1 (lock), DEMO_EXIT=1, WORKA_DEMO_REPO, WORKA_PREFIX.

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format lock prove faults docs screenshots clean
MAKEFLAGS += --no-print-directory
SETUP := scripts/setup

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## Only set up; prints the path of the runnable worka (the others do it by themselves)
	@$(SETUP)

demo: ## Run a governed task end to end on real input, and leave the console running (DEMO_EXIT=1 ends it)
	@WORKA_DEMO_REPO="$${WORKA_DEMO_REPO:-$(CURDIR)}" $(SETUP) -- worka demo

# Two streams for two cores, each with its own database and instance, in the same order every time.
test: ## The whole suite (ARGS='tests/broker -k redirect' for a part)
	@$(SETUP) --tests -- python -m pytest $(or $(ARGS),-n 2 --streams)

lint: ## ruff, mypy --strict, import layers
	@$(SETUP) --tests -- scripts/lint

format: ## Let ruff rewrite what it can
	@$(SETUP) --tests -- sh -c 'ruff check -q --fix src sdk tests scripts benchmarks; ruff format -q src sdk tests scripts benchmarks'

lock: ## Renew the hashed locks, the packs' too (UPGRADE=1 takes newer versions)
	@$(SETUP) --tests -- scripts/lock

prove: ## Show that the tests of a guarding capability fail without its guard (CODE=BRK-2; none: all; ARGS='--again')
	@$(SETUP) --tests -- python scripts/prove $(CODE) $(ARGS)

faults: ## Break things under load, SEEDS times a row (ROWS='worker-kill disk-full'; ARGS=--missing: go on)
	@$(SETUP) --tests -- python scripts/faults --seeds $(or $(SEEDS),20) --rows '$(ROWS)' $(ARGS)

docs: ## Renew docs/reference from the code and from the last full run of the tests
	@$(SETUP) --tests -- python scripts/docs
	@$(SETUP) --tests -- python scripts/capabilities

screenshots: ## Renew docs/screenshots from the running product, seeded with a bad day
	@rm -f docs/screenshots/*.png
	@SCREENSHOTS=$(CURDIR)/docs/screenshots $(SETUP) --tests -- python -m pytest tests/console -q -k "with_data or while_loading or test_empty or stale_is_said or failed_says or it_is_accessible or new_rows or sign_in_to_a_done or gallery or says_its_gates or reviewed or quarantined_from_its_page or eight_questions"

clean: ## Remove what was made in this checkout (not the shared environments)
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find src tests scripts packs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
