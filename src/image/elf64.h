/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_ELF64_H
#define IMAGE_ELF64_H

/*
 * Read the few parts of 64-bit little-endian ELF files that mvm needs.  A file may be hostile: the
 * reader checks every offset against the size before it uses it, and modifies or allocates nothing.
 *
 * Source: System V ABI, "Object Files"; elf(5).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf {
	const uint8_t *data; /* borrowed */
	size_t size;
	uint16_t type;	  /* ET_EXEC, ... */
	uint16_t machine; /* EM_X86_64, ... */
};

/* Returns 0, or -EBADMSG when data is no such file. */
int elf_open(const void *data, size_t size, struct elf *ret);

/* The contents of the first section with this name.  Returns 0, -ENOENT or -EBADMSG; what ret
 * points to lies inside the file. */
int elf_section(const struct elf *e, const char *name, const uint8_t **ret, size_t *ret_size);

/* Is the file a program that names no dynamic linker, and so runs without any library? */
bool elf_is_static(const struct elf *e);

/* Do the program headers hold a note with this owner and type? */
bool elf_has_note(const struct elf *e, const char *owner, uint32_t type);

#endif
