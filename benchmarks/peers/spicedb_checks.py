"""The SpiceDB peer, in a process of its own: loads the graph, then answers `calls seed` lines with its own times.

Unary calls go through its binding into the library in this process: there is no network between it and the caller.
"""

import json
import random
import sys
import time

from authzed.api.v1 import (
    CheckPermissionRequest,
    CheckPermissionResponse,
    Consistency,
    ObjectReference,
    Relationship,
    RelationshipUpdate,
    SubjectReference,
    WriteRelationshipsRequest,
)
from spicedb_embedded import EmbeddedSpiceDB

MOST = 500  # relations that it takes at once
SCHEMA = """
definition person {}
definition workspace {
    relation owner: person
    relation admin: person
    relation member: person
    relation viewer: person
    permission invoke = owner + admin + member
}
definition tool {
    relation workspace: workspace
    permission invoke = workspace->invoke
}
"""


def thing(kind: str, name: str) -> ObjectReference:
    return ObjectReference(object_type=kind, object_id=name.replace(".", "/"))  # its ids hold no dots


def main() -> None:
    graph = json.loads(sys.stdin.readline())
    relations = []
    for place in graph:
        for person, role in place["people"]:
            relations.append(
                Relationship(
                    resource=thing("workspace", place["id"]),
                    relation=role,
                    subject=SubjectReference(object=thing("person", person)),
                )
            )
        for tool in place["tools"]:
            relations.append(
                Relationship(
                    resource=thing("tool", tool),
                    relation="workspace",
                    subject=SubjectReference(object=thing("workspace", place["id"])),
                )
            )
    with EmbeddedSpiceDB.start(SCHEMA, relations[:MOST]) as spicedb:
        permissions = spicedb.permissions()
        for at in range(MOST, len(relations), MOST):
            touched = [
                RelationshipUpdate(operation=RelationshipUpdate.OPERATION_TOUCH, relationship=relation)
                for relation in relations[at : at + MOST]
            ]
            permissions.WriteRelationships(WriteRelationshipsRequest(updates=touched))
        print("ready", flush=True)
        for line in sys.stdin:
            calls, seed = map(int, line.split())
            chance, times, wrong = random.Random(seed), [], 0
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls):
                place = chance.choice(graph)
                person, role = chance.choice(place["people"])
                asked = CheckPermissionRequest(
                    # No answer older than the question: what a revocation for the very next call needs.
                    consistency=Consistency(fully_consistent=True),
                    resource=thing("tool", chance.choice(place["tools"])),
                    permission="invoke",
                    subject=SubjectReference(object=thing("person", person)),
                )
                start = time.perf_counter()
                answer = permissions.CheckPermission(asked)
                times.append((time.perf_counter() - start) * 1000)
                allowed = answer.permissionship == CheckPermissionResponse.PERMISSIONSHIP_HAS_PERMISSION
                wrong += allowed != (role != "viewer")
            done = {"times": times, "wrong": wrong, "seconds": time.perf_counter() - began}
            print(json.dumps({**done, "cpu": time.process_time() - cpu}), flush=True)


main()
