/* SPDX-License-Identifier: Apache-2.0 */
#include "image/kernel_features.h"

#include <stdlib.h>
#include <string.h>

#include "image/unpack.h"

#define IKCONFIG_START "IKCFG_ST"
#define IKCONFIG_END   "IKCFG_ED"

static const struct {
	const char *name, *option, *module;
} known[MVM_KERNEL_FEATURES] = {
	[MVM_KERNEL_VIRTIO_MMIO] = { "virtio_mmio", "VIRTIO_MMIO", "virtio_mmio" },
	[MVM_KERNEL_VIRTIO_PCI] = { "virtio_pci", "VIRTIO_PCI", "virtio_pci" },
	[MVM_KERNEL_VIRTIO_BLK] = { "virtio_blk", "VIRTIO_BLK", "virtio_blk" },
	[MVM_KERNEL_VIRTIO_NET] = { "virtio_net", "VIRTIO_NET", "virtio_net" },
	[MVM_KERNEL_VIRTIO_CONSOLE] = { "virtio_console", "VIRTIO_CONSOLE", "virtio_console" },
	[MVM_KERNEL_VSOCK] = { "vsock", "VIRTIO_VSOCKETS", "vmw_vsock_virtio_transport" },
	[MVM_KERNEL_EXT4] = { "ext4", "EXT4_FS", "ext4" },
	[MVM_KERNEL_OVERLAY] = { "overlay", "OVERLAY_FS", "overlay" },
};

const char *mvm_kernel_feature_name(unsigned feature)
{
	return feature < MVM_KERNEL_FEATURES ? known[feature].name : NULL;
}

const char *mvm_kernel_has_name(unsigned has)
{
	static const char *const names[] = {
		[MVM_KERNEL_UNKNOWN] = "unknown",
		[MVM_KERNEL_NO] = "no",
		[MVM_KERNEL_MODULE] = "module",
		[MVM_KERNEL_BUILTIN] = "builtin",
	};
	return has < MVM_ARRAY_SIZE(names) ? names[has] : NULL;
}

/* Is this the line "CONFIG_<option>=y"? */
static bool is_yes(const char *line, const char *option)
{
	size_t len = strlen(option);
	return str_starts(line, "CONFIG_") && strncmp(line + 7, option, len) == 0 &&
	       str_starts(line + 7 + len, "=y") && strchr("\r\n", line[7 + len + 2]);
}

void kernel_features_config(const char *text, uint8_t features[MVM_KERNEL_FEATURES])
{
	/* a text without any option is no configuration: the features stay unknown */
	if (!str_starts(text, "CONFIG_") && !strstr(text, "\nCONFIG_"))
		return;
	memset(features, MVM_KERNEL_NO, MVM_KERNEL_FEATURES);
	for (const char *line = text; *line;) {
		for (size_t i = 0; i < MVM_KERNEL_FEATURES; i++) {
			if (is_yes(line, known[i].option))
				features[i] = MVM_KERNEL_BUILTIN;
		}
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
}

void kernel_features_ikconfig(const void *elf, size_t len, uint8_t features[MVM_KERNEL_FEATURES])
{
	AUTO_FREE char *text = NULL;
	size_t text_len;

	const char *start = memmem(elf, len, IKCONFIG_START, strlen(IKCONFIG_START));
	if (!start)
		return;
	start += strlen(IKCONFIG_START);
	size_t left = len - (size_t)(start - (const char *)elf);
	const char *end = memmem(start, left, IKCONFIG_END, strlen(IKCONFIG_END));
	if (end && unpack_buf(start, (size_t)(end - start), "the kernel's configuration",
			      KERNEL_CONFIG_MAX, &text, &text_len, NULL) == 0)
		kernel_features_config(text, features);
}

/* "kernel/drivers/virtio/virtio_mmio.ko", names with "-" or "_" */
static bool is_module_line(const char *line, size_t len, const char *module)
{
	const char *slash = memrchr(line, '/', len);
	const char *name = slash ? slash + 1 : line;
	size_t n = len - (size_t)(name - line), want = strlen(module);

	if (n != want + 3 || memcmp(name + want, ".ko", 3) != 0)
		return false;
	for (size_t i = 0; i < want; i++) {
		if (name[i] != module[i] && !(name[i] == '-' && module[i] == '_'))
			return false;
	}
	return true;
}

void kernel_features_builtin(const char *text, uint8_t features[MVM_KERNEL_FEATURES])
{
	uint8_t found[MVM_KERNEL_FEATURES];

	memset(found, MVM_KERNEL_NO, sizeof(found));
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		for (size_t i = 0; i < MVM_KERNEL_FEATURES; i++) {
			if (is_module_line(line, len, known[i].module))
				found[i] = MVM_KERNEL_BUILTIN;
		}
		line += len;
		line += *line == '\n';
	}
	for (size_t i = 0; i < MVM_KERNEL_FEATURES; i++) {
		if (features[i] == MVM_KERNEL_UNKNOWN)
			features[i] = found[i];
	}
}

void kernel_features_modules(const struct module *const *order, size_t n,
			     uint8_t features[MVM_KERNEL_FEATURES])
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < MVM_KERNEL_FEATURES; k++) {
			if (str_eq(order[i]->name, known[k].module))
				features[k] = MVM_KERNEL_MODULE;
		}
	}
}
