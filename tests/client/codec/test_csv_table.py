"""Tables as people have them: headers, separators, decimal commas, text that looks like numbers."""

from __future__ import annotations

import pytest

from og_mcp.client.codec.csv_table import read_table
from og_mcp.errors import TensorError
from og_mcp.types import TensorSpec


def spec(dtype: str, *shape: int) -> TensorSpec:
    return TensorSpec(name="x", dtype=dtype, shape=list(shape))


ANY_FLOAT = spec("float", -1, -1)
ANY_INT = spec("int64", -1, -1)
ANY_TEXT = spec("string", -1, -1)
COMMAS = "Commas in 't.csv' were read as decimal commas."


@pytest.mark.parametrize(
    ("text", "wanted", "value", "note"),
    [
        ("1.5,2\n3,4\n", ANY_FLOAT, [[1.5, 2], [3, 4]], ""),
        ("1.5;2\n3;4\n", ANY_FLOAT, [[1.5, 2], [3, 4]], ""),
        ("1.5\t2\n3\t4\n", ANY_FLOAT, [[1.5, 2], [3, 4]], ""),
        ("1,5;2\n3;4,25\n", ANY_FLOAT, [[1.5, 2], [3, 4.25]], COMMAS),
        ('"1,5";"2,5"\n', ANY_FLOAT, [[1.5, 2.5]], COMMAS),
        ("1,5\n2,5\n", spec("float", -1, 1), [[1.5], [2.5]], COMMAS),
        ("1,5\n2,5\n", spec("float", -1), [1.5, 2.5], COMMAS),
        ("1,5\n-2\n,25\n", spec("float", -1), [1.5, -2, 0.25], COMMAS),
        ("1,5\n2,5\n", spec("float", -1, 2), [[1, 5], [2, 5]], ""),
        ("1,5\n2,5\n", ANY_INT, [[1, 5], [2, 5]], ""),
        ("1,5,2\n2,5,1\n", ANY_FLOAT, [[1, 5, 2], [2, 5, 1]], ""),
        ("a,b\n1,5\n", ANY_FLOAT, [[1, 5]], "The header of 't.csv' was skipped: 'a', 'b'."),
        (
            "price\n1,5\n",
            ANY_FLOAT,
            [[1.5]],
            f"The header of 't.csv' was skipped: 'price'. {COMMAS}",
        ),
        (
            "a;b;c;d;e;f\n1;2;3;4;5;6\n",
            None,
            [[1, 2, 3, 4, 5, 6]],
            "The header of 't.csv' was skipped: 'a', 'b', 'c', 'd', 'e', ....",
        ),
        ('"01234","00501"\n', ANY_TEXT, [["01234", "00501"]], ""),
        ("01234\n00501\n", spec("string", -1), ["01234", "00501"], ""),
        ("01234,00501\n", spec("string", -1), ["01234", "00501"], ""),
        ("01234,00501\n", None, [["01234", "00501"]], ""),
        ("name,code\n1,2\n", ANY_TEXT, [["name", "code"], ["1", "2"]], ""),
        ("yes; no\nmaybe; so\n", spec("string", -1, 1), [["yes; no"], ["maybe; so"]], ""),
        ("true,false\n1,0\n", spec("bool", -1, 2), [[1, 0], [1, 0]], ""),
        ("1.5,2\n3,4\n", spec("float", 1, -1, 2), [[[1.5, 2], [3, 4]]], ""),
        ("7\n", spec("int64"), 7, ""),
    ],
)
def test_a_table_is_read_as_the_graph_takes_it(
    text: str, wanted: TensorSpec | None, value: object, note: str
) -> None:
    assert read_table("x", "t.csv", text, wanted) == (value, note)


@pytest.mark.parametrize(
    ("text", "wanted", "said"),
    [
        ("", ANY_FLOAT, "the file is empty"),
        ("\n \n", None, "the file is empty"),
        ("1,5\n2,5\n", ANY_FLOAT, "its commas may be decimal commas or separators"),
        ("1,5\n2,5\n", None, "its commas may be decimal commas or separators"),
        ("1,2;3\n4;5,6,7\n", ANY_FLOAT, "two separators, commas and semicolons"),
        ("1;2,3\n4;5,6\n", spec("float", -1, 3), "two separators, commas and semicolons"),
        ("1\t2,3\n", ANY_INT, "two separators, commas and tabs"),
        ("a,b;c\n", ANY_TEXT, "two separators, commas and semicolons"),
        ('"1,234","5,678"\n', ANY_FLOAT, "holds '1,234' at [0][0] of 't.csv'"),
        ("1,2x\n3,4\n", ANY_INT, "holds '2x' at [0][1] of 't.csv', which is not a number"),
        ("a,2024\n1,2\n", ANY_INT, "holds 'a' at [0][0]"),
        ("1,,3\n4,5,6\n", ANY_INT, "holds '' at [0][1]"),
        ("true,2\n", ANY_INT, "holds 'true' at [0][0]"),
    ],
)
def test_a_table_without_one_meaning_is_refused(
    text: str, wanted: TensorSpec | None, said: str
) -> None:
    with pytest.raises(TensorError) as caught:
        read_table("x", "t.csv", text, wanted)

    assert str(caught.value).startswith("Tensor 'x' ")
    assert said in str(caught.value)
