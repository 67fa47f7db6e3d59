"""Tree hashes and proofs against the eight leaves of the reference tree of certificate transparency (RFC 9162)."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from worka.audit import merkle, verify

DATA = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [merkle.leaf_hash(bytes.fromhex(data)) for data in DATA]


@pytest.mark.parametrize("size", range(1, 9))
def test_the_root_is_that_of_the_reference_tree(size: int) -> None:
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert merkle.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_proof_of_inclusion_is_that_of_the_reference_tree() -> None:
    assert [step.hex() for step in merkle.inclusion(LEAVES, 5)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@pytest.mark.parametrize("size", range(1, 9))
def test_every_leaf_is_proven_and_no_other_leaf_is(size: int) -> None:
    for index in range(size):
        proof = merkle.inclusion(LEAVES[:size], index)
        for root_of in (merkle.root_of_inclusion, verify.root_of_inclusion):
            assert root_of(LEAVES[index], index, size, proof).hex() == ROOTS[size - 1]
            assert root_of(merkle.leaf_hash(b"other"), index, size, proof).hex() != ROOTS[size - 1]
            with pytest.raises(ValueError, match="long"):
                root_of(LEAVES[index], index, size, [*proof, LEAVES[0]])


def test_every_prefix_is_proven_consistent_and_no_other_tree_is() -> None:
    for size in range(1, 9):
        for old in range(1, size + 1):
            proof = merkle.consistency(LEAVES[:size], old)
            roots = (bytes.fromhex(ROOTS[old - 1]), bytes.fromhex(ROOTS[size - 1]))
            assert merkle.is_consistent(old, size, *roots, proof)
            assert not merkle.is_consistent(old, size, LEAVES[7], roots[1], proof)
            assert not merkle.is_consistent(old, size, *roots, [*proof, LEAVES[0]])


@pytest.mark.capability("AUD-7", part="signatures")
def test_the_offline_verifier_judges_signatures_as_the_rfc_does() -> None:
    # RFC 8032, section 7.1, test 2.
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert verify.ed25519_verify(public, b"\x72", signature)
    assert not verify.ed25519_verify(public, b"\x73", signature)
    for place in (0, 31, 32, 63):
        changed = bytearray(signature)
        changed[place] ^= 1
        assert not verify.ed25519_verify(public, b"\x72", bytes(changed))
    # The same signature with s + L is refused: a note has one signature of a key, not many.
    order = 2**252 + 27742317777372353535851937790883648493
    larger = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not verify.ed25519_verify(public, b"\x72", signature[:32] + larger)


def test_the_offline_verifier_accepts_what_the_library_signs() -> None:
    for number in range(5):
        private = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        message = base64.b64encode(bytes([number]) * 50)
        assert verify.ed25519_verify(private.public_key().public_bytes_raw(), message, private.sign(message))
