//! Compiles `bpf/tracer.bpf.c` with clang and generates the Rust side of `bpf/wire.h`.
//!
//! Environment: `CLANG` names another clang; `BPF_CFLAGS` adds flags, such as an include folder.

#[path = "build/wire.rs"]
mod wire;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

use object::{build::elf, elf::SHT_STRTAB};

const INSTALL: [&str; 4] = [
    "  Debian, Ubuntu:  apt-get install clang libbpf-dev",
    "  Fedora, RHEL:    dnf install clang libbpf-devel",
    "  Arch:            pacman -S clang libbpf",
    "Another clang can be named in CLANG, further compiler flags in BPF_CFLAGS.",
];

/// The architecture that runs this script.
const HOST: &str = env::consts::ARCH;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-env-changed=BPF_CFLAGS");

    if let Err(error) = generate_records(&out).and_then(|()| compile(&out)) {
        for line in error.lines() {
            println!("cargo::error={line}");
        }
        exit(1);
    }
}

fn generate_records(out: &Path) -> Result<(), String> {
    let header = fs::read_to_string("bpf/wire.h").map_err(|error| format!("bpf/wire.h: {error}"))?;
    let rust = wire::generate(&header).map_err(|error| format!("bpf/wire.h: {error}"))?;
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let types = read("bpf/kernel.bpf.h")? + &read("bpf/architecture.bpf.h")?;
    let names = wire::type_names(&types);
    let names = format!("pub(crate) const KERNEL_TYPE_NAMES: &[&str] = &{names:?};\n");
    fs::write(out.join("records.rs"), rust + &names).map_err(|error| error.to_string())
}

fn compile(out: &Path) -> Result<(), String> {
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let target = match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => "bpfeb",
        _ => "bpfel",
    };
    // The kernel's headers are in a folder of the architecture. For a BPF target clang does not search it. The headers of
    // another architecture serve as well: we use only the types that are the same everywhere.
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    // -g writes BTF, the types for the kernel.
    let output = Command::new(&clang)
        .args(["-target", target, "-mcpu=v3", "-O2", "-g", "-std=gnu11", "-Wall", "-Werror"])
        // The object must not depend on the folder of the sources.
        .arg("-fdebug-compilation-dir=.")
        // A table for linkers, which the library of `without_debug_information` does not know.
        .arg("-fno-addrsig")
        .args([&arch, HOST].map(|arch| format!("-I/usr/include/{arch}-linux-gnu")))
        .args(env::var("BPF_CFLAGS").unwrap_or_default().split_whitespace())
        .args(["-c", "bpf/tracer.bpf.c", "-o"])
        .arg(out.join("tracer.bpf.o"))
        .output()
        .map_err(|error| {
            let install = INSTALL.join("\n");
            format!("cannot run {clang}, which compiles the eBPF programs: {error}. To install it:\n{install}")
        })?;
    if output.status.success() {
        return without_debug_information(&out.join("tracer.bpf.o"));
    }
    let messages = String::from_utf8_lossy(&output.stderr);
    let remedy = if messages.contains("file not found") {
        format!("\na header of the eBPF programs is missing. To install it:\n{}", INSTALL.join("\n"))
    } else {
        String::new()
    };
    Err(format!("{clang} cannot compile bpf/tracer.bpf.c:\n{messages}{remedy}"))
}

/// Removes DWARF and the relocations of BTF, which are almost half of the object. Only BTF itself is needed.
fn without_debug_information(path: &Path) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let mut object = elf::Builder::read(&*bytes).map_err(|error| error.to_string())?;
    for section in &mut object.sections {
        let name = String::from_utf8_lossy(&section.name);
        // Only linkers read the relocations of BTF.
        section.delete = name.trim_start_matches(".rel").starts_with(".debug_") || name.starts_with(".rel.BTF");
    }
    object.delete_orphans();
    // clang has the names of sections and of symbols in one table. The library needs two.
    let names = object.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.data = elf::SectionData::SectionString;
    let mut smaller = Vec::new();
    object.write(&mut smaller).map_err(|error| error.to_string())?;
    fs::write(path, smaller).map_err(|error| error.to_string())
}
