// SPDX-License-Identifier: Apache-2.0
#include "plugin/elf_check.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/file.h"

namespace engram {
namespace {

#if defined(__x86_64__)
constexpr int kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr int kMachine = EM_AARCH64;
#else
#error "name this machine's ELF constant here"
#endif

}  // namespace

Status CheckSharedObject(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return NotFound(path.string() + ": no such plugin file");
  if (error) return IoError(path.string() + ": " + error.message());
  if (!std::filesystem::is_regular_file(status)) return InvalidArgument(path.string() + ": not a regular file");
  ENGRAM_TRY(const ReadOnlyFile file, ReadOnlyFile::Open(path));
  const uint64_t size = file.size_bytes();

  Elf64_Ehdr header;
  if (size < sizeof(header))
    return InvalidArgument(path.string() + ": not a shared object (only " + std::to_string(size) + " bytes)");
  ENGRAM_CHECK_OK(file.ReadAt(0, &header, sizeof(header)));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return InvalidArgument(path.string() + ": not a shared object (no ELF header)");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != kMachine)
    return InvalidArgument(path.string() + ": built for another machine (ELF machine " +
                           std::to_string(header.e_machine) + ", expected " + std::to_string(kMachine) + ")");
  if (header.e_type != ET_DYN)
    return InvalidArgument(path.string() + ": not a shared object (ELF type " + std::to_string(header.e_type) + ")");
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0)
    return InvalidArgument(path.string() + ": not a shared object (no program headers)");

  const uint64_t table_bytes = uint64_t{header.e_phnum} * sizeof(Elf64_Phdr);
  if (header.e_phoff > size || table_bytes > size - header.e_phoff)
    return InvalidArgument(path.string() + ": truncated: program headers end at byte " +
                           std::to_string(header.e_phoff + table_bytes) + ", the file at " + std::to_string(size));
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  ENGRAM_CHECK_OK(file.ReadAt(header.e_phoff, segments.data(), table_bytes));
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_filesz == 0) continue;
    if (segment.p_offset > size || segment.p_filesz > size - segment.p_offset)
      return InvalidArgument(path.string() + ": truncated: a segment of " + std::to_string(segment.p_filesz) +
                             " bytes starts at byte " + std::to_string(segment.p_offset) + ", the file ends at " +
                             std::to_string(size));
  }
  // The section headers lie behind everything that is mapped: a file cut in them would load, but it is not the file
  // that was built.
  const uint64_t section_bytes = uint64_t{header.e_shnum} * header.e_shentsize;
  if (header.e_shnum != 0 && (header.e_shoff > size || section_bytes > size - header.e_shoff))
    return InvalidArgument(path.string() + ": truncated: section headers of " + std::to_string(section_bytes) +
                           " bytes start at byte " + std::to_string(header.e_shoff) + ", the file ends at " +
                           std::to_string(size));
  return {};
}

}  // namespace engram
