"""Schemas said in the keywords that llguidance compiles.

A rewritten schema accepts what the original accepts or less, never more: its answers are valid under the original.
Each rule takes one keyword away and returns what stands for it; the results are joined by `allOf`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any
from urllib.parse import unquote

from mistralrs.prompt.schema_reject import Schema, disjoint, reject

ONE = ("additionalProperties", "items", "contains", "propertyNames")  # hold a schema
MANY = ("prefixItems", "allOf", "anyOf", "oneOf")  # hold a list of them
NAMED = ("properties", "patternProperties", "$defs", "definitions")  # hold schemas by name
COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
WAYS = 16  # of evaluating the properties of one schema
FOLLOWED = 6  # references


def rewrite(schema: Schema) -> Schema:
    """Return a schema that accepts the same instances or fewer, without the keywords of `RULES` where a rule fits."""
    return Rewriter(schema).under(schema)


class Rewriter:
    """The rewriting of one document."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self.anchors = [value for key, value in _pairs(root) if key == "$dynamicAnchor"]
        nested = root.values() if isinstance(root, dict) else ()
        self.plain = not any(key == "$id" for part in nested for key, _ in _pairs(part))

    def under(self, schema: Schema) -> Schema:
        """Return a schema that accepts at most what `schema` accepts."""
        if not isinstance(schema, dict):
            return schema
        gone = {key for key in GONE if key in schema}
        kept = {key: self._inside(key, value) for key, value in schema.items() if key not in gone}
        extra: list[Schema] = []
        for key, rule in RULES.items():
            if key in schema:
                made = rule(self, schema)
                if made is None:  # the rule does not fit: llguidance shall refuse the keyword
                    kept[key] = schema[key]
                else:
                    extra += made
        if "$dynamicAnchor" in schema and "$dynamicAnchor" not in kept:
            kept.setdefault("$anchor", schema["$dynamicAnchor"])
        if extra:
            kept["allOf"] = [*kept.get("allOf", []), *extra]
        return kept

    def reject(self, schema: Schema) -> Schema:
        """Return a schema that accepts nothing that `schema` accepts."""
        return reject(schema, self.resolve, self.under)

    def resolve(self, reference: str) -> Schema:
        """Return what a pointer into this document means, None for other references."""
        if not self.plain or not (reference == "#" or reference.startswith("#/")):
            return None
        found = self.root
        for step in reference[2:].split("/") if len(reference) > 1 else []:
            step = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and step.isdigit() and int(step) < len(found):
                found = found[int(step)]
            elif isinstance(found, dict) and step in found:
                found = found[step]
            else:
                return None
        return found if isinstance(found, dict | bool) else None

    def _inside(self, key: str, value: Any) -> Any:
        if key in COUNTS and isinstance(value, float) and value.is_integer():
            return int(value)
        if key in ONE:
            return self.under(value)
        if key in MANY:
            return [self.under(part) for part in value]
        if key in NAMED:
            return {name: self.under(part) for name, part in value.items()}
        return value


def _pairs(value: Any) -> list[tuple[str, Any]]:
    """Return every key and value inside a document."""
    if isinstance(value, list):
        return [pair for part in value for pair in _pairs(part)]
    if not isinstance(value, dict):
        return []
    return [*value.items(), *(pair for part in value.values() for pair in _pairs(part))]


Made = list[Schema] | None


def _not(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`not` S: what S surely refuses."""
    refused = to.reject(schema["not"])
    return None if refused is False else [refused]


def _if(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`if` S: S and `then`, or what S surely refuses and `else`. Alone it says nothing."""
    if "then" not in schema and "else" not in schema:
        return []
    yes = {"allOf": [to.under(schema["if"]), to.under(schema.get("then", True))]}
    no = {"allOf": [to.reject(schema["if"]), to.under(schema.get("else", True))]}
    return [_union([yes, no])]


def _one_of(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`oneOf`: one of them, and what every other surely refuses."""
    parts = schema["oneOf"]
    ways = []
    for place, part in enumerate(parts):
        others = [o for i, o in enumerate(parts) if i != place and not disjoint(part, o)]
        ways.append({"allOf": [to.under(part), *map(to.reject, others)]})
    return [_union(ways)]


def _dependent_required(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`dependentRequired`: the property is absent, or the others are there."""
    return [
        _union([_absent(name), {"required": [name, *others]}])
        for name, others in schema["dependentRequired"].items()
        if others
    ]


def _dependent_schemas(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`dependentSchemas`: the property is absent, or the schema holds."""
    return [
        _union([_absent(name), {"allOf": [{"required": [name]}, to.under(part)]}])
        for name, part in schema["dependentSchemas"].items()
    ]


def _dependencies(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`dependencies`: the older name of both."""
    lists = {n: v for n, v in schema["dependencies"].items() if isinstance(v, list)}
    parts = {n: v for n, v in schema["dependencies"].items() if not isinstance(v, list)}
    required = _dependent_required(to, {"dependentRequired": lists}) or []
    return required + (_dependent_schemas(to, {"dependentSchemas": parts}) or [])


def _contains(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`contains`: the first `minContains` items are such; with `maxContains` no other is."""
    least, most = int(schema.get("minContains", 1)), schema.get("maxContains")
    if most is not None and most < least:
        return None
    rest = {} if most is None else {"items": to.reject(schema["contains"])}
    if not least:
        return [rest] if rest else []
    items = [to.under(schema["contains"])] * least
    return [{"prefixItems": items, "minItems": least, **rest}]


def _unique(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`uniqueItems` says nothing of arrays with one item, nor when it is false."""
    few = schema.get("maxItems", 2) <= 1
    short = schema.get("items") is False and len(schema.get("prefixItems", [])) <= 1
    return [] if few or short or schema["uniqueItems"] is False else None


def _names(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`propertyNames`: only properties whose names are listed, or match the pattern."""
    names = schema["propertyNames"]
    if isinstance(names, bool):
        return [] if names else [{"maxProperties": 0}]
    told = {key: value for key, value in names.items() if (key, value) != ("type", "string")}
    if not told:
        return []
    if set(told) <= {"minLength", "maxLength"}:
        low, high = int(told.get("minLength", 0)), told.get("maxLength", "")
        high = int(high) if high != "" else ""
        told = {"pattern": f"^[\\s\\S]{{{low},{high}}}$"}
    if set(told) == {"pattern"}:
        return [{"patternProperties": {told["pattern"]: True}, "additionalProperties": False}]
    if set(told) <= {"const"} or set(told) <= {"enum"}:
        values = told.get("enum", [told.get("const")])
        known = {value: True for value in values if isinstance(value, str)}
        return [{"properties": known, "additionalProperties": False}]
    return None


def _dynamic_ref(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`$dynamicRef` to an anchor that is declared once means what `$ref` means."""
    name = schema["$dynamicRef"].partition("#")[2]
    return [{"$ref": schema["$dynamicRef"]}] if to.anchors.count(name) < 2 else None


def _dynamic_anchor(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`$dynamicAnchor` without a second one of its name is an `$anchor`; see `GONE`."""
    return [] if to.anchors.count(schema["$dynamicAnchor"]) < 2 else None


@dataclass(frozen=True)
class Seen:
    """One way in which a schema looks at an instance: if the guards hold, these parts are evaluated."""

    guards: tuple[Any, ...] = ()
    names: frozenset[str] = frozenset()
    patterns: frozenset[str] = frozenset()
    places: int = 0
    all_names: bool = False
    all_places: bool = False

    def __add__(self, other: "Seen") -> "Seen":
        return Seen(
            self.guards + other.guards,
            self.names | other.names,
            self.patterns | other.patterns,
            max(self.places, other.places),
            self.all_names or other.all_names,
            self.all_places or other.all_places,
        )


def _ways(to: Rewriter, schema: Schema, top: bool = True, left: int = FOLLOWED) -> list[Seen]:
    """Return ways in which a schema evaluates an instance that it accepts."""
    if not isinstance(schema, dict) or left < 0:
        return [Seen()]
    whole = set(schema) - ({"unevaluatedProperties", "unevaluatedItems"} if top else set())
    own = Seen(
        names=frozenset(schema.get("properties", {})),
        patterns=frozenset(schema.get("patternProperties", {})),
        places=len(schema.get("prefixItems", [])),
        all_names=bool(whole & {"additionalProperties", "unevaluatedProperties"}),
        all_places=bool(whole & {"items", "unevaluatedItems"}),
    )
    factors = [[own]]
    factors += [_ways(to, part, False, left - 1) for part in schema.get("allOf", [])]
    if "$ref" in schema:
        factors.append(_ways(to, to.resolve(schema["$ref"]), False, left - 1))
    for key in ("anyOf", "oneOf"):
        parts = schema.get(key, [])
        guarded = [_guarded(to, to.under(part), part, left) for part in parts]
        factors += [[way for ways in guarded for way in ways]] if parts else []
    if "if" in schema:
        yes = _guarded(to, to.under(schema["if"]), schema["if"], left)
        then = _ways(to, schema.get("then", True), False, left - 1)
        no = _guarded(to, to.reject(schema["if"]), schema.get("else", True), left)
        factors.append([a + b for a in yes for b in then] + no)
    for name, part in schema.get("dependentSchemas", {}).items():
        there = _guarded(to, {"required": [name]}, part, left)
        factors.append([Seen(guards=(_absent(name),)), *there])
    found = [Seen()]
    for factor in factors:
        found = [a + b for a, b in product(found, factor)][:WAYS]
    return found


def _guarded(to: Rewriter, guard: Schema, part: Schema, left: int) -> list[Seen]:
    """Return the ways of a part that counts only where a guard holds."""
    return [Seen(guards=(guard,)) + way for way in _ways(to, part, False, left - 1)]


def _unevaluated_properties(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`unevaluatedProperties`: in each way of evaluating, `additionalProperties` beside the names it looks at."""
    rest = to.under(schema["unevaluatedProperties"])

    def closed(way: Seen) -> Schema:
        known = {
            "properties": dict.fromkeys(sorted(way.names), True),
            "patternProperties": dict.fromkeys(sorted(way.patterns), True),
        }
        return {**{k: v for k, v in known.items() if v}, "additionalProperties": rest}

    return _closing([(w, True if w.all_names else closed(w)) for w in _ways(to, schema)], rest)


def _unevaluated_items(to: Rewriter, schema: dict[str, Any]) -> Made:
    """`unevaluatedItems`: in each way of evaluating, `items` behind the places it looks at."""
    rest = to.under(schema["unevaluatedItems"])

    def closed(way: Seen) -> Schema:
        return (
            {"prefixItems": [True] * way.places, "items": rest} if way.places else {"items": rest}
        )

    return _closing([(w, True if w.all_places else closed(w)) for w in _ways(to, schema)], rest)


def _closing(ways: list[tuple[Seen, Schema]], rest: Schema) -> Made:
    if rest is True:
        return []
    joined = [_all([*way.guards, closed]) for way, closed in ways]
    return [part for part in [_union(joined)] if part is not True]


def _absent(name: str) -> Schema:
    return {"properties": {name: False}}


def _all(parts: list[Schema]) -> Schema:
    parts = [part for part in parts if part is not True]
    return True if not parts else parts[0] if len(parts) == 1 else {"allOf": parts}


def _union(parts: list[Schema]) -> Schema:
    """Return `anyOf`, without parts that are plainly impossible."""
    parts = [
        _all(p["allOf"]) if isinstance(p, dict) and set(p) == {"allOf"} else p
        for p in parts
        if not (isinstance(p, dict) and False in p.get("allOf", [])) and p is not False
    ]
    if True in parts:
        return True
    return False if not parts else parts[0] if len(parts) == 1 else {"anyOf": parts}


# Keyword -> what stands for it, None where the rule does not fit.
RULES: dict[str, Callable[[Rewriter, dict[str, Any]], Made]] = {
    "not": _not,
    "if": _if,
    "oneOf": _one_of,
    "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas,
    "dependencies": _dependencies,
    "contains": _contains,
    "uniqueItems": _unique,
    "propertyNames": _names,
    "$dynamicRef": _dynamic_ref,
    "$dynamicAnchor": _dynamic_anchor,
    "unevaluatedProperties": _unevaluated_properties,
    "unevaluatedItems": _unevaluated_items,
}
GONE = (*RULES, "then", "else", "minContains", "maxContains")
