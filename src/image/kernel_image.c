/* SPDX-License-Identifier: Apache-2.0 */
#include "image/kernel_image.h"

#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "codec/sha256.h"
#include "image/elf64.h"
#include "image/kernel_features.h"
#include "image/unpack.h"

#define SETUP_SECTS	 0x1f1u
#define BOOT_FLAG	 0x1feu
#define HEADER_MAGIC	 0x202u
#define BOOT_VERSION	 0x206u
#define PAYLOAD_OFFSET	 0x248u
#define PAYLOAD_LENGTH	 0x24cu
#define HEADER_END	 0x250u
#define VERSION_PAYLOAD	 0x0208u /* the first boot protocol that tells the payload's place */
#define SECTOR		 512u
#define XEN_PHYS32_ENTRY 18u
#define BANNER		 "Linux version "

static uint32_t le32_at(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool is_bzimage(const uint8_t *p, size_t len)
{
	return len >= HEADER_END && p[BOOT_FLAG] == 0x55 && p[BOOT_FLAG + 1] == 0xaa &&
	       memcmp(p + HEADER_MAGIC, "HdrS", 4) == 0;
}

static bool is_elf(const uint8_t *p, size_t len)
{
	return len >= SELFMAG && memcmp(p, ELFMAG, SELFMAG) == 0;
}

bool kernel_image_is(const void *data, size_t len)
{
	return is_bzimage(data, len) || is_elf(data, len);
}

static int copy(const void *data, size_t len, char **ret, size_t *ret_len, struct mvm_error *err)
{
	char *out = malloc(len ? len : 1);
	if (!out)
		return mvm_error_oom(err);
	memcpy(out, data, len);
	*ret = out;
	*ret_len = len;
	return 0;
}

int kernel_image_unpack(const void *data, size_t len, const char *name, char **ret, size_t *ret_len,
			struct mvm_error *err)
{
	const uint8_t *p = data;

	if (is_elf(p, len))
		return copy(data, len, ret, ret_len, err);
	if (!is_bzimage(p, len))
		return mvm_error_set(err, -EINVAL,
				     "'%s' is no kernel: neither a bzImage nor an ELF "
				     "vmlinux",
				     name);
	if ((p[BOOT_VERSION] | p[BOOT_VERSION + 1] << 8) < (int)VERSION_PAYLOAD)
		return mvm_error_set(
			err, -EOPNOTSUPP,
			"'%s' cannot be unpacked: it is a bzImage from before Linux 2.6.25", name);
	uint64_t sectors = p[SETUP_SECTS] ? p[SETUP_SECTS] : 4;
	uint64_t start = (sectors + 1) * SECTOR + le32_at(p + PAYLOAD_OFFSET);
	uint64_t size = le32_at(p + PAYLOAD_LENGTH);
	if (size < 8 || start > len || size > len - start)
		return mvm_error_set(err, -EBADMSG,
				     "'%s' is damaged: its payload lies outside the file", name);
	/* except with gzip, four bytes with the unpacked size follow the compressed kernel */
	bool gzip = p[start] == 0x1f && p[start + 1] == 0x8b;
	return unpack_buf(p + start, (size_t)(gzip ? size : size - 4), name, KERNEL_IMAGE_MAX, ret,
			  ret_len, err);
}

/* The banner that the kernel prints first: "Linux version 6.1.0-56-cloud-amd64 (debian-..." */
static bool find_version(const char *data, size_t len, char ret[KERNEL_VERSION_SIZE])
{
	const char *end = data + len;

	for (const char *p = data; (p = memmem(p, (size_t)(end - p), BANNER, strlen(BANNER)));) {
		p += strlen(BANNER);
		size_t n = 0;
		while (n < (size_t)(end - p) && n < KERNEL_VERSION_SIZE &&
		       isgraph((unsigned char)p[n]))
			n++;
		if (n == 0 || n >= KERNEL_VERSION_SIZE || !isdigit((unsigned char)*p))
			continue;
		memcpy(ret, p, n);
		ret[n] = '\0';
		return true;
	}
	return false;
}

int kernel_image_describe(const void *data, size_t len, const char *name, struct kernel_info *ret,
			  struct mvm_error *err)
{
	char version[KERNEL_VERSION_SIZE];
	struct elf elf;

	if (elf_open(data, len, &elf) < 0 || (elf.type != ET_EXEC && elf.type != ET_DYN) ||
	    !find_version(data, len, version))
		return mvm_error_set(
			err, -EINVAL,
			"'%s' is no kernel: it does not hold Linux for a 64-bit machine", name);
	if (elf.machine == EM_X86_64)
		ret->arch = "x86_64";
	else if (elf.machine == EM_AARCH64)
		ret->arch = "aarch64";
	else
		return mvm_error_set(err, -EINVAL,
				     "'%s' is a kernel for an unknown machine (ELF machine %u)",
				     name, elf.machine);
	if (!*ret->version)
		memcpy(ret->version, version, sizeof(version));
	ret->pvh = elf_has_note(&elf, "Xen", XEN_PHYS32_ENTRY);
	ret->vmlinux_bytes = len;
	kernel_features_ikconfig(data, len, ret->features);
	sha256_buf(data, len, &ret->vmlinux);
	return 0;
}
