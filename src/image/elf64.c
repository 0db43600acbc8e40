/* SPDX-License-Identifier: Apache-2.0 */
#include "image/elf64.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

static bool inside(const struct elf *e, uint64_t offset, uint64_t len)
{
	return offset <= e->size && len <= e->size - offset;
}

/* Copy a header out of the file, since it may not be aligned. */
static int get(const struct elf *e, uint64_t offset, void *ret, size_t len)
{
	if (!inside(e, offset, len))
		return -EBADMSG;
	memcpy(ret, e->data + offset, len);
	return 0;
}

int elf_open(const void *data, size_t size, struct elf *ret)
{
	struct elf e = { .data = data, .size = size };
	Elf64_Ehdr h;

	if (get(&e, 0, &h, sizeof(h)) < 0 || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 ||
	    h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB)
		return -EBADMSG;
	e.type = le16toh(h.e_type);
	e.machine = le16toh(h.e_machine);
	*ret = e;
	return 0;
}

static int get_section(const struct elf *e, const Elf64_Ehdr *h, uint32_t index, Elf64_Shdr *ret)
{
	uint64_t table = le64toh(h->e_shoff);
	/* index < 2^16, so the product is small; the sum is checked by get() unless it wraps */
	uint64_t offset = table + (uint64_t)index * sizeof(Elf64_Shdr);

	if (le16toh(h->e_shentsize) != sizeof(Elf64_Shdr) || offset < table)
		return -EBADMSG;
	return get(e, offset, ret, sizeof(*ret));
}

int elf_section(const struct elf *e, const char *name, const uint8_t **ret, size_t *ret_size)
{
	size_t name_size = strlen(name) + 1;
	Elf64_Shdr names, s;
	Elf64_Ehdr h;

	if (get(e, 0, &h, sizeof(h)) < 0 || get_section(e, &h, le16toh(h.e_shstrndx), &names) < 0)
		return -EBADMSG;
	uint64_t names_offset = le64toh(names.sh_offset), names_size = le64toh(names.sh_size);
	if (!inside(e, names_offset, names_size))
		return -EBADMSG;

	for (uint32_t i = 0; i < le16toh(h.e_shnum); i++) {
		if (get_section(e, &h, i, &s) < 0)
			return -EBADMSG;
		uint64_t at = le32toh(s.sh_name);
		if (at >= names_size || names_size - at < name_size ||
		    memcmp(e->data + names_offset + at, name, name_size) != 0)
			continue;
		if (le32toh(s.sh_type) == SHT_NOBITS ||
		    !inside(e, le64toh(s.sh_offset), le64toh(s.sh_size)))
			return -EBADMSG;
		*ret = e->data + le64toh(s.sh_offset);
		*ret_size = (size_t)le64toh(s.sh_size);
		return 0;
	}
	return -ENOENT;
}

static uint64_t align4(uint64_t n)
{
	return (n + 3) & ~UINT64_C(3);
}

/* The notes at offset: a header, the owner's name and the description, each padded to 4 bytes. */
static bool notes_have(const struct elf *e, uint64_t offset, uint64_t size, const char *owner,
		       uint32_t type)
{
	size_t owner_size = strlen(owner) + 1;
	Elf64_Nhdr n;

	while (size >= sizeof(n)) {
		if (get(e, offset, &n, sizeof(n)) < 0)
			return false;
		uint64_t name_size = le32toh(n.n_namesz);
		uint64_t step = sizeof(n) + align4(name_size) +
				align4((uint64_t)le32toh(n.n_descsz));
		if (step > size)
			return false;
		if (le32toh(n.n_type) == type && name_size == owner_size &&
		    memcmp(e->data + offset + sizeof(n), owner, owner_size) == 0)
			return true;
		offset += step;
		size -= step;
	}
	return false;
}

/* Read the i-th program header.  Returns 1, 0 after the last one, or -EBADMSG. */
static int get_segment(const struct elf *e, uint32_t i, Elf64_Phdr *ret)
{
	Elf64_Ehdr h;
	if (get(e, 0, &h, sizeof(h)) < 0 || le16toh(h.e_phentsize) != sizeof(*ret))
		return -EBADMSG;
	if (i >= le16toh(h.e_phnum))
		return 0;
	uint64_t table = le64toh(h.e_phoff), offset = table + i * sizeof(*ret);
	return offset < table || get(e, offset, ret, sizeof(*ret)) < 0 ? -EBADMSG : 1;
}

bool elf_has_note(const struct elf *e, const char *owner, uint32_t type)
{
	Elf64_Phdr p;

	for (uint32_t i = 0; get_segment(e, i, &p) > 0; i++) {
		uint64_t start = le64toh(p.p_offset), size = le64toh(p.p_filesz);
		if (le32toh(p.p_type) == PT_NOTE && inside(e, start, size) &&
		    notes_have(e, start, size, owner, type))
			return true;
	}
	return false;
}

bool elf_is_static(const struct elf *e)
{
	Elf64_Phdr p;
	int r;

	for (uint32_t i = 0; (r = get_segment(e, i, &p)) > 0; i++) {
		if (le32toh(p.p_type) == PT_INTERP)
			return false;
	}
	if (r < 0)
		return false;
	return e->type == ET_EXEC || e->type == ET_DYN;
}
