/* SPDX-License-Identifier: Apache-2.0 */
#include "image_util.h"

#include <archive.h>
#include <archive_entry.h>
#include <elf.h>

#include "base/str.h"
#include "codec/sha256.h"
#include "image/kernel.h"
#include "image/module.h"

/* Kernels and modules with only the parts that an importer reads. */

static const char kernel_text[] =
	"Linux version %s\nLinux version 6.9.1-test-amd64 (builder@host) #1 SMP";

/* An ELF vmlinux with a PVH note, of 200000 bytes so that it can be compressed. */
static char *make_vmlinux(bool pvh, size_t *ret_len)
{
	static const uint32_t note[] = { 4, 8, 18, 0x006e6558, 0x1000000, 0 }; /* "Xen" */
	size_t len = 200000;
	char *p = calloc(1, len);
	Elf64_Ehdr *h = (Elf64_Ehdr *)(void *)p;
	Elf64_Phdr *ph = (Elf64_Phdr *)(void *)(p + sizeof(*h));

	assert_non_null(p);
	memcpy(h->e_ident, ELFMAG, SELFMAG);
	h->e_ident[EI_CLASS] = ELFCLASS64;
	h->e_ident[EI_DATA] = ELFDATA2LSB;
	h->e_type = ET_EXEC;
	h->e_machine = EM_X86_64;
	h->e_phoff = sizeof(*h);
	h->e_phentsize = sizeof(*ph);
	h->e_phnum = 1;
	ph->p_type = pvh ? PT_NOTE : PT_LOAD;
	ph->p_offset = 4096;
	ph->p_filesz = sizeof(note);
	memcpy(p + 4096, note, sizeof(note));
	memcpy(p + 100000, kernel_text, sizeof(kernel_text));
	for (size_t i = 110000; i < len; i++)
		p[i] = (char)(i * 2654435761u >> 20);
	*ret_len = len;
	return p;
}

/* A relocatable ELF with .modinfo and .shstrtab. */
static char *make_module(const char *info, size_t info_len, size_t *ret_len)
{
	static const char names[] = "\0.modinfo\0.shstrtab";
	size_t at = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Shdr);
	char *p = calloc(1, at + sizeof(names) + info_len);
	Elf64_Ehdr *h = (Elf64_Ehdr *)(void *)p;
	Elf64_Shdr *s = (Elf64_Shdr *)(void *)(p + sizeof(*h));

	assert_non_null(p);
	memcpy(h->e_ident, ELFMAG, SELFMAG);
	h->e_ident[EI_CLASS] = ELFCLASS64;
	h->e_ident[EI_DATA] = ELFDATA2LSB;
	h->e_type = ET_REL;
	h->e_machine = EM_X86_64;
	h->e_shoff = sizeof(*h);
	h->e_shentsize = sizeof(*s);
	h->e_shnum = 3;
	h->e_shstrndx = 2;
	s[1] = (Elf64_Shdr){ .sh_name = 1,
			     .sh_type = SHT_PROGBITS,
			     .sh_offset = at + sizeof(names),
			     .sh_size = info_len };
	s[2] = (Elf64_Shdr){
		.sh_name = 10, .sh_type = SHT_STRTAB, .sh_offset = at, .sh_size = sizeof(names)
	};
	memcpy(p + at, names, sizeof(names));
	memcpy(p + at + sizeof(names), info, info_len);
	*ret_len = at + sizeof(names) + info_len;
	return p;
}

/* Compress with libarchive's raw format.  The caller frees the result. */
static char *compress_with(const char *filter, const void *data, size_t len, size_t *ret_len)
{
	struct archive *a = archive_write_new();
	struct archive_entry *e = archive_entry_new();
	char *out = malloc(2 * len + 4096);

	assert_non_null(out);
	assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
	assert_true(archive_write_add_filter_by_name(a, filter) >= ARCHIVE_WARN);
	assert_int_equal(archive_write_set_bytes_in_last_block(a, 1), ARCHIVE_OK);
	assert_int_equal(archive_write_open_memory(a, out, 2 * len + 4096, ret_len), ARCHIVE_OK);
	archive_entry_set_pathname(e, "data");
	archive_entry_set_filetype(e, AE_IFREG);
	assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
	assert_int_equal(archive_write_data(a, data, len), len);
	archive_entry_free(e);
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	assert_int_equal(archive_write_free(a), ARCHIVE_OK);
	return out;
}

/* Make a bzImage of a payload.  Except with gzip, its unpacked size follows it. */
static char *make_bzimage(const char *filter, const void *elf, size_t elf_len, size_t *ret_len)
{
	size_t packed_len, start = 3 * 512;
	AUTO_FREE char *packed = compress_with(filter, elf, elf_len, &packed_len);
	uint32_t payload = (uint32_t)packed_len + (strcmp(filter, "gzip") == 0 ? 0 : 4);
	uint32_t offset = 100, size = (uint32_t)elf_len;
	char *p = calloc(1, start + offset + payload);

	assert_non_null(p);
	p[0x1f1] = 2;
	memcpy(p + 0x1fe, "\x55\xaa", 2);
	memcpy(p + 0x202, "HdrS\x0f\x02", 6);
	memcpy(p + 0x248, &offset, 4);
	memcpy(p + 0x24c, &payload, 4);
	memcpy(p + start + offset, packed, packed_len);
	if (payload > packed_len)
		memcpy(p + start + offset + packed_len, &size, 4);
	*ret_len = start + offset + payload;
	return p;
}

struct member {
	const char *path;
	const void *data;
	size_t len;
};

static void write_archive(const char *name, const char *format, const char *filter,
			  const struct member *m, size_t n)
{
	AUTO_CLOSE int fd = open_image(name);
	struct archive *a = archive_write_new();

	assert_int_equal(archive_write_set_format_by_name(a, format), ARCHIVE_OK);
	if (filter)
		assert_true(archive_write_add_filter_by_name(a, filter) >= ARCHIVE_WARN);
	assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
	for (size_t i = 0; i < n; i++) {
		struct archive_entry *e = archive_entry_new();
		archive_entry_set_pathname(e, m[i].path);
		archive_entry_set_filetype(e, AE_IFREG);
		archive_entry_set_perm(e, 0644);
		archive_entry_set_size(e, (la_int64_t)m[i].len);
		if (archive_write_header(a, e) != ARCHIVE_OK)
			fail_msg("%s", archive_error_string(a));
		assert_int_equal(archive_write_data(a, m[i].data, m[i].len), m[i].len);
		archive_entry_free(e);
	}
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	assert_int_equal(archive_write_free(a), ARCHIVE_OK);
}

static void write_deb(const char *name, const struct member *m, size_t n)
{
	AUTO_FREE char *data = NULL;
	size_t len;

	write_archive("data.tar.xz", "paxr", "xz", m, n);
	assert_int_equal(file_read_at(work_fd, "data.tar.xz", 1 << 24, &data, &len), 0);
	const struct member outer[] = { { "debian-binary", "2.0\n", 4 },
					{ "data.tar.xz", data, len } };
	write_archive(name, "arbsd", NULL, outer, 2);
}

static int import(const char *src, const char *dest, struct kernel_info *ret, struct mvm_error *err)
{
	AUTO_CLOSE int fd = openat(work_fd, src, O_RDONLY | O_CLOEXEC);
	assert_int_equal(tree_remove_at(work_fd, dest), 0);
	AUTO_CLOSE int dir = dir_make_at(work_fd, dest);
	assert_true(fd >= 0 && dir >= 0);
	return kernel_import(fd, src, dir, NULL, ret, err);
}

static void assert_file(const char *name, const void *data, size_t len)
{
	AUTO_FREE char *got = NULL;
	size_t got_len;
	assert_int_equal(file_read_at(work_fd, name, 1 << 24, &got, &got_len), 0);
	assert_int_equal(got_len, len);
	assert_memory_equal(got, data, len);
}

static void every_payload_of_a_bzimage_is_unpacked(void **state)
{
	(void)state;
	static const char *const filters[] = { "gzip", "bzip2", "xz", "lzma", "zstd", "lz4" };
	size_t len, packed_len;
	AUTO_FREE char *elf = make_vmlinux(true, &len);

	for (size_t i = 0; i < MVM_ARRAY_SIZE(filters); i++) {
		AUTO_FREE char *packed = make_bzimage(filters[i], elf, len, &packed_len);
		struct mvm_error err = { 0 };
		struct kernel_info info;
		put_file("bzImage", packed, packed_len, 0644);
		int r = import("bzImage", "k", &info, &err);
		if (r < 0)
			print_error("%s: %s\n", filters[i], err.text);
		assert_int_equal(r, 0);
		assert_file("k/vmlinux", elf, len);
		assert_string_equal(info.version, "6.9.1-test-amd64");
		assert_string_equal(info.arch, "x86_64");
		assert_true(info.pvh);
		assert_int_equal(info.n_modules, 0);
		assert_int_equal(info.vmlinux_bytes, len);
	}
}

static void a_vmlinux_is_stored_unchanged(void **state)
{
	(void)state;
	struct kernel_info info;
	size_t len;
	AUTO_FREE char *elf = make_vmlinux(false, &len);

	put_file("vmlinux", elf, len, 0644);
	assert_int_equal(import("vmlinux", "k", &info, NULL), 0);
	assert_file("k/vmlinux", elf, len);
	assert_false(info.pvh);
}

static void a_file_that_is_no_kernel_is_refused(void **state)
{
	(void)state;
	struct kernel_info info;
	size_t len;
	AUTO_FREE char *elf = make_vmlinux(true, &len);
	AUTO_FREE char *bz = NULL;
	struct mvm_error err = { 0 };

	put_text("text", "not a kernel at all\n", 0644);
	assert_int_equal(import("text", "k", &info, &err), -EINVAL);
	assert_string_equal(err.text, "'text' is no kernel: neither a Debian package, a bzImage "
				      "nor an ELF vmlinux");
	put_text("text", "", 0644);
	assert_int_equal(import("text", "k", &info, &err), -EINVAL);

	memset(elf + 100000, 0, sizeof(kernel_text));
	put_file("program", elf, len, 0644);
	assert_int_equal(import("program", "k", &info, &err), -EINVAL);
	assert_non_null(strstr(err.text, "'program' is no kernel: it does not hold Linux"));

	bz = make_bzimage("xz", elf, len, &len);
	memset(bz + 0x24c, 0xff, 4);
	put_file("bz", bz, len, 0644);
	assert_int_equal(import("bz", "k", &info, &err), -EBADMSG);
	assert_string_equal(err.text, "'bz' is damaged: its payload lies outside the file");
	memset(bz + 0x24c, 0, 4);
	bz[0x24d] = 8; /* truncates the payload */
	put_file("bz", bz, len, 0644);
	assert_int_equal(import("bz", "k", &info, &err), -EBADMSG);
}

static void an_import_can_be_stopped(void **state)
{
	(void)state;
	int readable = open("/dev/null", O_RDONLY | O_CLOEXEC);
	const struct mvm_progress progress = { .cancel_fd = &readable };
	const struct member files[] = { { "./boot/vmlinuz-1", "x", 1 } };
	struct kernel_info info;
	struct mvm_error err = { 0 };

	write_deb("k.deb", files, 1);
	AUTO_CLOSE int fd = openat(work_fd, "k.deb", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int dir = dir_make_at(work_fd, "k");
	assert_true(fd >= 0 && dir >= 0);
	assert_int_equal(kernel_import(fd, "k.deb", dir, &progress, &info, &err), -ECANCELED);
	assert_string_equal(err.text, "the import was cancelled");
	close(readable);
}

#define INFO(text) (text), sizeof(text)

static void a_package_brings_the_modules_in_load_order(void **state)
{
	(void)state;
	static const struct {
		const char *path, *info;
		size_t info_len;
		const char *filter;
	} modules[] = {
		{ "./lib/modules/6.9.2-deb/kernel/net/unused.ko",
		  INFO("depends=missing\0name=unused"), NULL },
		{ "./lib/modules/6.9.2-deb/kernel/a/virtio-rng.ko",
		  INFO("license=GPL\0depends=virtio,rng-core\0name=virtio_rng"), NULL },
		{ "./lib/modules/6.9.2-deb/kernel/b/virtio.ko.xz", INFO("depends=virtio_ring"),
		  "xz" },
		{ "./lib/modules/6.9.2-deb/kernel/b/virtio_ring.ko.zst", INFO("depends="), "zstd" },
		{ "./lib/modules/6.9.2-deb/kernel/b/virtio_blk.ko.gz",
		  INFO("depends=virtio\0name=virtio_blk"), "gzip" },
		{ "./lib/modules/6.9.2-deb/kernel/c/rng-core.ko", INFO("depends="), NULL },
	};
	struct member m[MVM_ARRAY_SIZE(modules) + 1];
	char *data[MVM_ARRAY_SIZE(modules)];
	struct mvm_error err = { 0 };
	struct kernel_info info, again;
	size_t len, elf_len, n = 0;
	AUTO_FREE char *elf = make_vmlinux(true, &elf_len);
	AUTO_FREE char *bz = make_bzimage("lz4", elf, elf_len, &len);

	m[n++] = (struct member){ "./boot/vmlinuz-6.9.2-deb", bz, len };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(modules); i++) {
		char *ko = make_module(modules[i].info, modules[i].info_len, &len);
		data[i] = ko;
		if (modules[i].filter) {
			data[i] = compress_with(modules[i].filter, ko, len, &len);
			free(ko);
		}
		m[n++] = (struct member){ modules[i].path, data[i], len };
	}
	write_deb("linux.deb", m, n);
	int r = import("linux.deb", "k", &info, &err);
	if (r < 0)
		print_error("%s\n", err.text);
	assert_int_equal(r, 0);
	assert_string_equal(info.version, "6.9.2-deb");
	assert_int_equal(info.n_modules, 5);
	static const char order[] = "virtio_ring.ko\nvirtio.ko\nvirtio_blk.ko\nrng_core.ko\n"
				    "virtio_rng.ko\n";
	assert_file("k/modules/order", order, strlen(order));
	AUTO_FREE char *plain = make_module(modules[2].info, modules[2].info_len, &len);
	assert_file("k/modules/virtio.ko", plain, len);
	assert_file("k/vmlinux", elf, elf_len);

	assert_int_equal(import("linux.deb", "k", &again, NULL), 0);
	assert_true(digest_equal(&info.modules, &again.modules));
	assert_true(digest_equal(&info.vmlinux, &again.vmlinux));

	write_deb("none.deb", m + 1, n - 1);
	assert_int_equal(import("none.deb", "k", &info, &err), -EINVAL);
	assert_string_equal(err.text, "'none.deb' is no kernel: the package installs no "
				      "/boot/vmlinuz");
	write_deb("lacks.deb", m, n - 1);
	assert_int_equal(import("lacks.deb", "k", &info, &err), -EBADMSG);
	assert_string_equal(err.text, "'lacks.deb': module 'virtio_rng' needs 'rng_core', which is "
				      "missing");
	for (size_t i = 0; i < MVM_ARRAY_SIZE(data); i++)
		free(data[i]);
}

static void damaged_modules_are_refused_at_every_byte(void **state)
{
	(void)state;
	size_t len;
	AUTO_FREE char *ko = make_module(INFO("depends=a,b\0name=x"), &len);

	for (size_t cut = 0; cut < len; cut++) {
		AUTO_DONE(module_list) l = { 0 };
		assert_int_equal(module_add(&l, ko, cut, "x.ko", NULL), -EBADMSG);
	}
	for (size_t i = 0; i < len * 8; i++) { /* any result is fine, but no read outside */
		AUTO_DONE(module_list) l = { 0 };
		ko[i / 8] = (char)(ko[i / 8] ^ 1 << i % 8);
		module_add(&l, ko, len, "x.ko", NULL);
		ko[i / 8] = (char)(ko[i / 8] ^ 1 << i % 8);
	}
	AUTO_DONE(module_list) l = { 0 };
	assert_int_equal(module_add(&l, ko, len, "x.ko", NULL), 0);
	assert_string_equal(l.v[0].name, "x");
	assert_int_equal(l.v[0].depends.n, 2);
}

static void a_package_that_unpacks_to_too_much_is_refused(void **state)
{
	(void)state;
	char header[512] = "usr/share/bomb", sum[8];
	struct kernel_info info;
	struct mvm_error err = { 0 };
	unsigned total = 0;
	size_t len;

	strcpy(header + 124, "10000000000"); /* 8^10 is 1 GiB */
	header[156] = '0';
	memset(header + 148, ' ', 8);
	memcpy(header + 257, "ustar\00000", 8);
	for (size_t i = 0; i < sizeof(header); i++)
		total += (unsigned char)header[i];
	snprintf(sum, sizeof(sum), "%06o", total);
	memcpy(header + 148, sum, 7);
	AUTO_FREE char *data = compress_with("xz", header, sizeof(header), &len);
	const struct member outer[] = { { "debian-binary", "2.0\n", 4 },
					{ "data.tar.xz", data, len } };
	write_archive("bomb.deb", "arbsd", NULL, outer, 2);
	assert_int_equal(import("bomb.deb", "k", &info, &err), -EFBIG);
	assert_string_equal(err.text, "'bomb.deb': the files unpack to more than 1 GiB");
	assert_string_equal(err.reason, "kernel-too-large");
}

static void a_package_with_an_endless_header_is_refused(void **state)
{
	(void)state;
	const size_t len = (17u << 20);
	AUTO_FREE char *tar = make_endless_header(len);
	const struct member data = { "data.tar", tar, len };
	struct kernel_info info;
	struct mvm_error err = { 0 };

	write_archive("header.deb", "arbsd", NULL, &data, 1);
	assert_int_equal(import("header.deb", "k", &info, &err), -EFBIG);
	assert_string_equal(err.text, "'header.deb': an entry has a header of more than 16 MiB");
}

static void a_cut_package_is_damaged(void **state)
{
	(void)state;
	const struct member files[] = { { "usr/share/x", "hello", 5 } };
	struct kernel_info info;
	struct mvm_error err = { 0 };
	size_t len;

	write_deb("whole.deb", files, 1);
	AUTO_CLOSE int fd = openat(work_fd, "whole.deb", O_RDWR | O_CLOEXEC);
	assert_int_equal(import("whole.deb", "k", &info, NULL), -EINVAL); /* it has no kernel */
	len = (size_t)lseek(fd, 0, SEEK_END);
	for (size_t cut = len - 2; cut > 8; cut -= cut > 7 ? 7 : cut) {
		assert_int_equal(ftruncate(fd, (off_t)cut), 0);
		int r = import("whole.deb", "k", &info, &err);
		assert_true(r == -EBADMSG || r == -EINVAL);
	}
}

static void modules_that_unpack_to_too_much_together_are_refused(void **state)
{
	(void)state;
	const size_t padded = 60u << 20;
	struct kernel_info info;
	struct mvm_error err = { 0 };
	size_t len, packed_len;
	AUTO_FREE char *ko = make_module(INFO("name=x\0depends="), &len);
	AUTO_FREE char *large = calloc(1, padded);
	char names[18][64];
	struct member files[18];

	assert_non_null(large);
	memcpy(large, ko, len);
	AUTO_FREE char *packed = compress_with("zstd", large, padded, &packed_len);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(files); i++) {
		snprintf(names[i], sizeof(names[i]), "lib/modules/6/kernel/m%zu.ko.zst", i);
		files[i] = (struct member){ names[i], packed, packed_len };
	}
	write_deb("modules.deb", files, MVM_ARRAY_SIZE(files));
	assert_int_equal(import("modules.deb", "k", &info, &err), -EFBIG);
	assert_string_equal(err.text, "'modules.deb': the files unpack to more than 1 GiB");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_payload_of_a_bzimage_is_unpacked),
		cmocka_unit_test(a_vmlinux_is_stored_unchanged),
		cmocka_unit_test(a_file_that_is_no_kernel_is_refused),
		cmocka_unit_test(an_import_can_be_stopped),
		cmocka_unit_test(a_package_brings_the_modules_in_load_order),
		cmocka_unit_test(a_package_that_unpacks_to_too_much_is_refused),
		cmocka_unit_test(a_package_with_an_endless_header_is_refused),
		cmocka_unit_test(a_cut_package_is_damaged),
		cmocka_unit_test(modules_that_unpack_to_too_much_together_are_refused),
		cmocka_unit_test(damaged_modules_are_refused_at_every_byte),
	};
	return cmocka_run_group_tests(tests, make_work_folder, remove_work_folder);
}
