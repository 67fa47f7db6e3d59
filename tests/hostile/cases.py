"""Every hostile case and the tests that hold it. `docs/reference/hostile-cases.md` is made from this (`make docs`).

A test is `file::function`, the file below tests/. test_cases.py looks that each is there, and that no test of this folder
is missing here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """What is attempted, what holds against it, and the tests (each with its control)."""

    area: str
    attempt: str
    holds: str
    tests: tuple[str, ...]


def _in(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{file}::test_{name}" for name in names)


INTERNET, EGRESS, KERNEL, SANDBOX = (
    f"hostile/test_{n}.py" for n in ("internet", "egress", "kernel", "sandbox")
)  # fmt: skip
LEAKS, SEARCH, TENANTS, MCP, ARCHIVES, SERVERS, NPM, STRONG, CONTAINER = (
    f"hostile/test_{n}.py"
    for n in ("leaks", "search", "tenants", "mcp", "archives", "servers", "npm", "strong", "container")
)  # fmt: skip
ASKED = _in(KERNEL, "the_sandbox_refuses_what_the_kernel_does_outside", "every_probe_has_its_refusal")
FOUR = _in(INTERNET, "an_ipv4_address_is_no_road_in_any_spelling") + _in(
    EGRESS, "a_raw_address_is_refused_in_every_spelling"
)
SIX = _in(INTERNET, "an_ipv6_address_is_no_road_in_any_spelling")
INWARD = _in(INTERNET, "a_declared_name_that_leads_inward_is_refused")
ODD = _in(INTERNET, "a_host_that_two_parsers_could_read_differently_goes_nowhere")
LOOKING = _in(
    SEARCH, "a_pack_that_searches_everywhere_finds_no_secret_and_tells_nobody",
    "the_same_search_inside_finds_what_the_pack_itself_has_hidden",
)  # fmt: skip

CASES: tuple[Case, ...] = (
    Case("Egress", "decimal, octal, hex and short IPv4; 0.0.0.0", "every spelling of an address is a raw address", FOUR),
    Case("Egress", "IPv4-mapped IPv6 in both spellings, NAT64, 6to4, Teredo", "no route, and refused by name", SIX + INWARD),
    Case("Egress", "carrier NAT, private, link-local, metadata addresses", "refused before anything is dialled", FOUR + INWARD),
    Case("Egress", "user info, IDN, full-width digits, backslash, NUL, ports, brackets in a host", "one reading or none", ODD),
    Case("Egress", "a trailing dot", "the same declared name, in one spelling", _in(INTERNET, "a_trailing_dot_is_the_same_declared_name") + ODD),
    Case("Egress", "CRLF, NUL and folds in a request", "malformed, nothing leaves", _in(INTERNET, "a_request_broken_on_purpose_goes_nowhere")),
    Case("Egress", "redirects inward", "the client that follows is refused there", _in(INTERNET, "a_redirect_that_leads_inward_ends_there")
         + _in(EGRESS, "a_redirect_out_of_scope_is_not_followed_and_is_named")),
    Case("Egress", "DNS rebinding", "what was checked is what is dialled", _in(
        INTERNET, "a_name_that_changes_between_check_and_connection_is_dialled_where_it_was_checked")
         + _in(EGRESS, "a_name_that_resolves_inward_is_refused_whatever_it_resolved_to_before", "what_was_checked_is_what_is_dialled")),
    Case("Egress", "SNI ≠ Host ≠ target of the connection", "all three name one declared place", _in(
        INTERNET, "sni_host_and_target_must_name_one_place")
         + _in(EGRESS, "fronting_is_refused")),
    Case("Egress", "relayed CONNECT, plain HTTP beside it, proxy requests", "nested_connect", _in(
        INTERNET, "a_tunnel_is_not_relayed_and_plain_http_beside_it_gains_nothing")
         + _in(EGRESS, "a_proxy_request_or_another_protocol_is_refused")),
    Case("Egress", "request smuggling (length and coding, 25 ways)", "no second request in a body", _in(
        INTERNET, "no_second_request_travels_in_the_body_of_a_first") + _in(EGRESS, "a_second_request_is_not_hidden_in_a_body")),
    Case("Egress", "WebSocket and other upgrades, asked for or unasked", "upgrade_refused", _in(
        INTERNET, "another_protocol_is_not_spoken_over_the_road")),
    Case("Egress", "proxy variables unset or replaced, our authority not trusted", "there is no other road", _in(
        INTERNET, "without_proxy_variables_or_trust_in_our_authority_nothing_leaves")
         + _in(EGRESS, "a_client_that_does_not_trust_the_session_gets_nothing_out")),
    Case("Egress", "UDP, QUIC, other ports, IPv6", "no route, no listener", _in(INTERNET, "datagrams_quic_and_other_ports_are_no_road")
         + _in(EGRESS, "other_ports_udp_and_ipv6_are_no_road") + _in(SANDBOX, "no_direct_connection_leaves")),
    Case("Egress", "raw addresses, other ports and sockets from a kernel of the pack's own", "the same one road", _in(
        STRONG, "on_a_kernel_of_its_own_the_only_road_is_the_brokers")),
    Case("Egress", "raw addresses, other ports and sockets from a container of an engine", "the same one road", _in(
        CONTAINER, "in_a_container_the_only_road_is_the_brokers")),
    Case("Egress", "processes and threads left running after the call", "no_active_invocation", _in(
        INTERNET, "what_a_pack_leaves_running_reaches_nothing_after_its_call")),
    Case("Egress", "exfiltration by name lookup", "a lookup asks nobody outside", _in(INTERNET, "a_name_lookup_tells_the_outside_nothing")
         + _in(EGRESS, "names_are_not_a_way_to_tell_the_outside_something") + _in(SANDBOX, "no_name_is_resolved_without_network") + LOOKING[:1]),
    Case("Egress", "a flood of connections", "bounded, and the road stays open", _in(
        EGRESS, "a_flood_of_connections_is_bounded_and_the_road_stays_open")),
    Case("Egress", "each vector of the published suite ([list](egress-suite.md)), through proxy variables and around them", "no canary is hit", _in(
        "hostile/test_suite.py", "every_vector_of_the_published_suite_holds", "a_hole_is_found_by_the_suite",
        "the_doctor_runs_the_suite_and_says_what_it_found")),
    Case("Egress", "everything that dials, in an air-gapped deployment: packs, builds, the platform's own calls", "no packet but to the list", _in(
        "hostile/test_air_gap.py", "of_an_air_gapped_deployment_no_packet_goes_but_to_the_list",
        "what_an_air_gap_would_refuse_is_shown_before_it_is_closed")),
    Case("Sandbox", "other processes' environment, arguments and memory", "not visible", LOOKING + _in(
        SANDBOX, "no_environment_of_the_host", "no_other_process_is_seen_or_signalled",
        "the_hosts_processes_do_not_show_the_packs_environment_or_arguments")),
    Case("Sandbox", "files of the host and of siblings", "not there", LOOKING + _in(
        SANDBOX, "no_file_of_the_host_and_none_of_a_sibling", "nothing_can_be_written_but_tmp_and_tmp_is_bounded")),
    Case("Sandbox", "mount, remount, pivot_root, chroot, the new mount calls", "EPERM", ASKED),
    Case("Sandbox", "unshare, clone, clone3, setns: every kind of namespace", "EPERM or ENOSYS", ASKED + _in(SANDBOX, "no_nested_user_namespace")),
    Case("Sandbox", "bpf, io_uring, keyctl, userfaultfd, perf_event_open, kernel log", "EPERM", ASKED + _in(
        SANDBOX, "dangerous_system_calls_are_refused_before_the_kernel_looks")),
    Case("Sandbox", "ptrace, process_vm, pidfd_getfd, kcmp, open_by_handle_at", "EPERM", ASKED),
    Case("Sandbox", "TIOCSTI", "EPERM", ASKED),
    Case("Sandbox", "packet, vsock, crypto and raw sockets; a new address", "refused", ASKED + _in(SANDBOX, "no_vsock_no_packet_no_crypto_socket")),
    Case("Sandbox", "inherited descriptors", "three pipes and nothing else", _in(LEAKS, "no_descriptor_of_the_platform_is_inherited") + LOOKING),
    Case("Sandbox", "abstract sockets, loopback ports, shared memory", "namespaces of its own", _in(SANDBOX, "no_direct_connection_leaves") + LOOKING
         + _in(TENANTS, "two_tenants_packs_at_once_cannot_see_signal_or_reach_each_other")),
    Case("Sandbox", "/sys, /proc/sys, control groups, device nodes", "not there or not writable", ASKED),
    Case("Sandbox", "symbolic links swapped all the time", "nobody outside follows them", _in(
        LEAKS, "what_a_pack_links_and_swaps_in_its_own_folder_nobody_outside_follows")
         + _in(ARCHIVES, "a_source_that_is_swapped_for_a_link_while_it_is_cloned_leads_nowhere")),
    Case("Sandbox", "fork bomb, threads", "bounded, gone with the session", _in(
        SANDBOX, "a_fork_bomb_is_bounded_and_its_sessions_end_takes_all_of_it", "a_bomb_that_forks_for_ever_ends_with_its_deadline")
         + _in(LEAKS, "a_pack_takes_no_more_than_its_share_of")),
    Case("Sandbox", "memory, processor, disk, descriptors, many small files", "limits of that pack alone", _in(
        SANDBOX, "memory_beyond_the_limit_kills_that_pack_only", "processor_time_is_shared",
        "nothing_can_be_written_but_tmp_and_tmp_is_bounded", "no_core_no_more_files_than_allowed_and_no_limit_raised")
         + _in(LEAKS, "a_pack_takes_no_more_than_its_share_of", "a_million_small_files_end_with_that_packs_memory_or_its_disk")),
    Case("Sandbox", "log flood", "a bounded tail, constant memory", _in(LEAKS, "a_flood_of_logs_is_bounded_everywhere_and_nobody_else_feels_it")),
    Case("Sandbox", "secrets in core dumps, of packs and of our own processes", "no dump and no collector", _in(
        LEAKS, "a_pack_that_crashes_leaves_no_core_and_no_collector_gets_one", "a_role_that_crashes_leaves_no_core",
        "every_role_keeps_its_memory_off_the_disk")),
    Case("Sandbox", "a loader variable in the manifest", "acts inside only", _in(SANDBOX, "a_loader_variable_does_not_reach_bubblewrap")),
    Case("Sandbox", "a token that is on the wire at that moment", "never in the sandbox", _in(
        SEARCH, "the_token_is_not_in_the_sandbox_while_the_broker_sends_it")),
    Case("Tenants", "two tenants' packs at once", "neither sees, signals or reaches the other", _in(
        TENANTS, "two_tenants_packs_at_once_cannot_see_signal_or_reach_each_other",
        "each_tenants_requests_carry_its_own_token_when_both_ask_at_once")),
    Case("Tenants", "a pack hung, killed, out of memory, forking, flooding", "another tenant's calls go on without an error", _in(
        TENANTS, "another_tenants_calls_go_on_without_an_error", "a_pack_that_dies_with_its_network_open_is_told_as_what_killed_it")),
    Case("MCP", "approved once and changed later", "held before the next call", _in(
        MCP, "a_tool_that_was_approved_and_then_changes_is_held_before_its_next_call", "a_server_that_lists_a_tool_twice_later_has_changed_it")),
    Case("MCP", "poisoned descriptions and results", "data; never a template, a class or a terminal command", _in(
        MCP, "a_poisoned_result_is_data_all_the_way_to_the_caller", "a_poisoned_description_decides_nothing",
        "what_strangers_say_cannot_move_the_operators_terminal")),
    Case("MCP", "a gigabyte in one answer; a line, lines, pages, nesting or an answer without an end; ten thousand tools",
         "that session ends with its reason; the host stays small, others are served meanwhile", _in(
        SERVERS, "a_server_that_gives_too_much_ends_alone_and_is_told_as_what_it_did")),
    Case("MCP", "no UTF-8, half a surrogate, NUL, a number beyond all numbers",
         "malformed, or an answer like any other; never a row that cannot be written", _in(
        SERVERS, "a_server_that_gives_too_much_ends_alone_and_is_told_as_what_it_did", "a_text_that_no_database_takes_is_an_answer_like_any_other",
        "a_server_that_speaks_before_it_is_asked_or_out_of_turn_is_served_all_the_same")),
    Case("MCP", "a server that speaks or answers before it is asked, or says that it changed all the time", "ignored, or the handshake fails", _in(
        SERVERS, "a_server_that_speaks_before_it_is_asked_or_out_of_turn_is_served_all_the_same",
        "a_server_that_gives_too_much_ends_alone_and_is_told_as_what_it_did")),
    Case("MCP", "sampling, elicitation, roots and tools asked of the host by the server", "an error, and nobody is reached", _in(
        SERVERS, "what_a_server_asks_of_its_host_is_refused_and_reaches_nobody")),
    Case("MCP", "lines, blank lines or stderr without an end, to keep the host from others", "the loop goes round; bounded, and told", _in(
        SERVERS, "a_pack_that_has_always_more_to_read_does_not_keep_the_host_from_another_tenants_call",
        "the_loop_goes_round_between_two_reads_of_what_never_ends",
        "a_flood_of_stderr_is_read_no_faster_than_its_bound_and_its_last_line_is_kept")),
    Case("MCP", "changed definitions that take an age to compare", "cut before they are compared; only what is told is worded", _in(
        SERVERS, "a_definition_that_changed_beyond_all_recognition_is_told_without_keeping_the_host",
        "of_a_thousand_changed_definitions_only_those_that_are_told_are_put_into_words")),
    Case("MCP", "name squatting and shadowing", "not registered", _in(
        MCP, "two_tools_that_can_be_taken_for_one_are_not_registered", "a_name_that_somebody_has_cannot_be_taken_or_shadowed")),
    Case("MCP", "colliding JSON-RPC ids, forged and early answers", "each caller gets its own", _in(
        MCP, "answers_never_cross_between_a_thousand_callers_whose_requests_have_the_same_ids",
        "a_pack_that_answers_twice_early_or_under_other_ids_confuses_nobody")),
    Case("MCP", "duplicate keys and case variants in manifest, arguments and results", "one reading, or refused", _in(
        MCP, "an_answer_with_a_key_twice_has_one_reading", "an_argument_that_another_parser_reads_as_a_declared_one_is_refused",
        "such_an_argument_never_reaches_the_pack", "a_manifest_with_a_key_twice_or_in_another_case_has_one_reading")
         + _in("packs/test_checking.py", "a_manifest_among_the_files_that_says_something_else_is_refused")),
    Case("MCP", "configuration that becomes a command", "arrives as it is, acts inside only", _in(
        MCP, "configuration_does_not_become_a_command") + _in(ARCHIVES, "what_a_repository_wants_to_run_is_not_run")),
    Case("MCP", "a package's name or a lock that is an option of the installer", "names only; the lock is rewritten from what was read", _in(
        "packs/test_config.py", "the_name_and_version_of_a_package_are_names_and_never_options",
        "a_lock_holds_no_option_no_address_and_no_weaker_hash")),
    Case("MCP", "an argument or a field that switches isolation off", "no such switch", _in(
        MCP, "no_argument_and_no_field_switches_isolation_off") + _in("packs/test_sandbox.py", "a_request_that_reaches_too_far_is_refused")),
    Case("MCP", "Host and Origin not checked", "own names and own origin only", (
        "api/test_hosts.py::test_a_name_that_was_rebound_to_this_machine_reaches_no_page_and_no_route",
        "console/test_doors.py::test_a_form_of_another_origin_changes_nothing")),
    Case("MCP", "a control port open to the machine", "sockets of our own uid, one-time tokens", _in(
        "packs/test_sandbox.py", "only_the_platforms_user_may_ask") + _in(
        "broker/test_road.py", "another_user_hands_nothing_over_even_with_the_token",
        "a_handover_that_is_none_leaves_nothing_open_and_nothing_unsaid")),
    Case("Archives", "`..`, absolute paths, links, devices, set-user-id in a wheel", "nothing outside, plain files only", _in(
        ARCHIVES, "a_wheel_reaches_nothing_outside_its_environment")),
    Case("Archives", "a wheel that is a bomb", "ends at the budget, leaves nothing", _in(
        ARCHIVES, "a_bomb_ends_at_the_budget_and_leaves_the_disk_as_it_was", "folders_count_and_are_not_nested_without_end",
        "a_bomb_ends_alone_and_leaves_nothing_while_others_install",
        "a_source_that_fills_its_compilers_memory_fills_no_machine")
         + _in("packs/test_build.py", "metadata_that_would_fill_the_memory_or_is_no_text_is_refused",
               "a_large_file_is_compared_without_being_held_in_memory")),
    Case("Archives", "source distributions", "not unpacked", _in(ARCHIVES, "a_source_distribution_is_not_unpacked_and_not_built")),
    Case("Archives", "an npm package's scripts", "not run", _in(NPM, "no_script_of_a_package_runs_when_it_is_installed")),
    Case("Archives", "an npm lock with addresses, repositories, links, weak or no hashes", "refused, or not asked", _in(
        NPM, "a_lock_that_leads_elsewhere_or_pins_nothing_is_refused_before_anything_is_fetched",
        "an_address_in_a_lock_is_not_asked_and_the_registry_is")),
    Case("Archives", "an npm registry that gives another archive; a package under another name", "refused by its hash, its name", _in(
        NPM, "a_registry_that_gives_another_archive_than_the_locked_one_is_refused",
        "a_package_that_calls_itself_another_or_names_no_command_of_its_own_is_refused")),
    Case("Archives", "`..`, absolute paths, links, devices, set-user-id in an npm archive; a bomb",
         "nothing outside, plain files only; ends at the budget", _in(
        NPM, "an_archive_reaches_nothing_outside_its_environment", "an_npm_bomb_ends_at_the_budget_and_leaves_the_disk_as_it_was")),
    Case("Archives", "files of an npm package that differ from its archive, and files of none", "not the locked package, refused", _in(
        NPM, "what_is_installed_and_not_in_the_locked_archive_is_refused")),
    Case("Archives", "a tree of files that is sent along", "stays in the tree, bounded", _in(
        ARCHIVES, "a_path_of_a_tree_that_was_sent_stays_in_the_tree", "a_tree_that_is_too_much_is_refused")
         + _in("packs/test_build.py", "a_tree_with_links_or_devices_or_from_elsewhere_is_refused")),
    Case("Archives", "an archive of a pack with links, devices, paths that leave, names twice", "plain files of the pack, or refused", _in(
        "packs/test_archive.py", "an_archive_with_anything_but_plain_files_of_the_pack_is_refused",
        "what_is_no_archive_or_is_cut_or_lies_about_its_sizes_is_refused",
        "a_folder_gives_its_plain_files_and_no_tests_hidden_files_or_links")),
    Case("Archives", "code that runs at installation, files that differ from their record", "refused, nothing stays", _in(
        "packs/test_build.py", "a_source_distribution_is_not_built", "an_executable_pth_is_refused_and_nothing_stays",
        "files_that_are_not_the_packages_record_are_refused", "a_wheel_with_another_hash_is_not_installed")),
    Case("Archives", "a repository that leads to another tenant's clone", "git does not see the instance's folder", _in(
        ARCHIVES, "a_repository_that_leads_to_another_tenants_clone_is_not_cloned",
        "a_source_that_is_swapped_for_a_link_while_it_is_cloned_leads_nowhere")),
    Case("Archives", "a repository that is a bomb, or holds links", "weighed before the checkout; read inside only", _in(
        ARCHIVES, "a_repository_that_is_a_bomb_is_refused_before_the_checkout",
        "a_link_in_a_repository_is_kept_as_a_link_and_read_inside_the_sandbox_only")),
    Case("Registries", "another's artifact or layer, more or less of it, a digest in a header alone", "every byte is compared", _in(
        "packs/test_remote_registry.py", "a_registry_that_lies_is_refused_with_the_reason_and_an_honest_one_is_not")),
    Case("Registries", "a redirect inward, an upload sent elsewhere, a push that is only pretended", "not followed; all is read back", _in(
        "packs/test_remote_registry.py", "a_registry_that_lies_is_refused_with_the_reason_and_an_honest_one_is_not",
        "a_registry_that_misleads_a_push_makes_it_fail_and_nothing_is_listed")),
    Case("Registries", "an answer that drips, is cut, or never ends; a manifest that promises a giant", "given up in time and size", _in(
        "packs/test_remote_registry.py", "a_registry_that_drips_is_given_up_in_time",
        "a_registry_that_lies_is_refused_with_the_reason_and_an_honest_one_is_not")
         + _in("packs/test_registry_rules.py", "a_manifest_that_promises_a_giant_or_an_unknown_layer_is_refused")),
    Case("Registries", "an artifact whose archive has links, devices, paths that leave, names twice", "plain small files, or refused", _in(
        "packs/test_registry_rules.py", "an_artifact_whose_archive_is_more_than_plain_small_files_is_refused")),
    Case("Registries", "a signature of another payload or artifact, one key twice, an old or expired trust root", "vouches for nothing", _in(
        "packs/test_registry_rules.py", "a_signature_counts_for_its_publisher_its_artifact_and_a_root_that_holds",
        "two_of_two_keys_are_two_keys_and_not_one_that_signed_twice", "a_root_follows_the_one_in_force_signed_by_enough_of_both")
         + _in("packs/test_vouching.py", "only_the_operator_sets_a_root_and_an_old_one_is_never_taken_again",
               "an_envelope_from_elsewhere_is_taken_only_for_the_artifact_it_is_about")),
    Case("Connections", "a state that was never written, of another consent, person, session or workspace; the same answer twice",
         "refused; its code is sent nowhere", _in(
        "connections/test_consent.py",
        "an_answer_counts_once_for_who_began_it_in_their_session_and_from_the_provider_that_was_asked")),
    Case("Connections", "another provider's answer (mix-up), or one that does not say whose it is", "used up; its code is sent nowhere", _in(
        "connections/test_consent.py", "an_answer_of_another_provider_is_not_taken_and_its_code_is_sent_nowhere")),
    Case("Connections", "another person's code; another account at connecting again", "worth nothing without its verifier; refused", _in(
        "connections/test_consent.py", "another_persons_code_connects_nothing",
        "connecting_again_keeps_the_grants_and_takes_no_other_account")),
    Case("Connections", "a token endpoint that lies: no token, a header in it, another type, more scopes, a page", "changes nothing", _in(
        "connections/test_renewing.py", "a_token_endpoint_that_lies_changes_nothing")),
    Case("Connections", "a provider that rotates and dies before it answers; a late answer; two renewals at once",
         "told as it was, fenced, asked once", _in(
        "connections/test_renewing.py",
        "a_renewal_whose_answer_was_lost_is_told_as_it_is_where_the_provider_had_rotated",
        "what_comes_after_the_claim_moved_is_dropped", "two_processes_that_renew_at_once_ask_the_provider_once")
         + _in("connections/test_ending.py", "a_renewal_that_comes_back_after_the_end_brings_nothing_back")),
    Case("Connections", "a catalogue file or metadata that would send a token astray", "refused by its name", _in(
        "connections/test_catalogue.py", "a_file_that_could_send_a_token_astray_is_refused_by_its_name",
        "metadata_fill_one_label_of_a_host_and_nothing_else")),
    Case("Connections", "a call that wants another person's account; another tenant's consent", "refused by the treasury; not there", _in(
        "connections/test_ending.py",
        "behind_a_tool_that_many_share_each_call_uses_the_account_of_who_it_is_made_for",
        "another_tenant_reaches_nothing_of_it")),
    Case("Connections", "a search for tokens, codes, verifiers and states in every row and log line", "none is found", _in(
        "connections/test_consent.py",
        "a_person_consents_and_the_token_is_the_packs_to_use_and_nobodys_to_see")),
)  # fmt: skip


def page() -> str:
    """The reference page."""
    text = (
        "# Hostile cases\n\nWhat is attempted against Worka in `make test`, and the tests that hold it. Every refusal has its "
        "control in the same test: the declared road is open, or the same code outside of the sandbox succeeds. Hits are counted "
        "at live canaries (`tests/hostile/internet.py` makes a network in which every address answers), never in our own log.\n"
    )
    for area in dict.fromkeys(case.area for case in CASES):
        text += f"\n## {area}\n\n| attempt | what holds | tests |\n| --- | --- | --- |\n"
        for case in CASES:
            if case.area == area:
                tests = "<br>".join(f"`{test.removeprefix('hostile/')}`" for test in dict.fromkeys(case.tests))
                text += f"| {case.attempt} | {case.holds} | {tests} |\n"
    return text
