#!/usr/bin/env python3
"""Writes src/c.rs: the functions of include/wslink.h as Rust declarations, so that targets call them like C.

  fuzz/declare.py            writes it
  fuzz/declare.py --check    fails if src/c.rs is not up to date
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
NUMBERS = {
    "int32_t": "i32", "uint32_t": "u32", "int64_t": "i64", "uint64_t": "u64", "uint8_t": "u8", "int8_t": "i8", "uint16_t": "u16",
    "size_t": "usize", "bool": "bool", "double": "f64", "float": "f32", "char": "c_char", "void": "c_void",
    "int": "c_int",
}  # fmt: skip
# All other types are opaque handles.
header = (HERE.parent / "include" / "wslink.h").read_text()
header = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
structs = {
    name: body
    for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \w+;", header, flags=re.S)
}


def rust_type(text):
    # Of a pointer to pointers, only the last one may be constant here.
    text = re.sub(r"\*\s*const\b", "*", text.replace("struct ", ""))
    const, base, stars = re.fullmatch(r"(const )?(\w+)\s*([\s*]*)", text.strip()).groups()
    known = base in structs or base.endswith("_fn")
    name = NUMBERS.get(base) or (base if known else "c_void")
    count = stars.count("*")
    if count:
        name = "*mut " * (count - 1) + ("*const " if const else "*mut ") + name
    return name


def variable(text):
    kind, name = re.fullmatch(r"(.*?)(\w+)", " ".join(text.split())).groups()
    return name, rust_type(kind)


def arguments(text):
    return "" if text.strip() == "void" else ", ".join(f"{n}: {t}" for n, t in map(variable, text.split(",")))


def result(text):
    text = text.strip()
    return "" if text == "void" else f" -> {rust_type(text)}"


lines = [
    "//! The functions of wslink.h as C sees them. Written by declare.py; do not edit.",
    "#![allow(non_camel_case_types)]",
    "",
    "use std::ffi::{c_char, c_int, c_void};",
    "",
]
for name, body in structs.items():
    lines += ["#[repr(C)]", "#[derive(Clone, Copy)]", f"pub struct {name} {{"]
    for member in filter(None, map(str.strip, body.split(";"))):
        lines.append("    pub {}: {},".format(*variable(member)))
    lines += ["}", ""]
for returned, name, args in re.findall(r"typedef (\w+) \(\*(\w+)\)\(([^;]*)\);", header):
    lines.append(f'pub type {name} = Option<extern "C" fn({arguments(args)}){result(returned)}>;')
lines.append("")
for name, value in re.findall(r"#define (WSLINK_[A-Z0-9_]+) (-?\d+)\n", header):
    lines.append(f"pub const {name}: i32 = {value};")
lines += ["", 'unsafe extern "C" {']
for returned, name, args in re.findall(r"WSLINK_API\s+([^;(]+?)(\w+)\(([^;]*?)\);", header):
    lines.append(f"    pub fn {name}({arguments(args)}){result(returned)};")
lines += ["}", ""]
text = "\n".join(lines)
path = HERE / "src" / "c.rs"
if sys.argv[1:] == ["--check"]:
    if path.read_text() != text:
        sys.exit("fuzz/src/c.rs is not what fuzz/declare.py writes: run it")
else:
    path.write_text(text)
