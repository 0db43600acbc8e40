/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "model/mtu.h"
#include "vmm/cmdline.h"
#include "vmm/qemu/qemu.h"

/*
 * Under TCG the guest needs the old timer chips: it can calibrate the TSC on nothing else, and
 * hangs there.  acpi=on tells it where its virtio-mmio devices are.
 */
const char *qemu_machine(enum vmm_accel accel)
{
	return accel == VMM_ACCEL_KVM ? "microvm,acpi=on,x-option-roms=off,auto-kernel-cmdline=off"
				      : "microvm,pit=on,pic=on,rtc=on,acpi=on,x-option-roms=off,"
					"auto-kernel-cmdline=off";
}

/* Add "-option {...}".  Takes the value over; NULL (no memory) is an error. */
static int add_json(struct strv *args, const char *option, json_t *value, struct mvm_error *err)
{
	AUTO_FREE char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;
	json_decref(value);
	if (!text)
		return mvm_error_oom(err);
	strv_add(args, option);
	strv_add(args, text);
	return 0;
}

static int add_memory(struct strv *args, const struct vmm_config *c, struct mvm_error *err)
{
	json_int_t size = (json_int_t)c->mem_mib << 20;
	strv_add(args, "-m");
	strv_addf(args, "%u", c->mem_mib);
	if (c->memory == VMM_MEMORY_PRIVATE)
		return add_json(args, "-object",
				json_pack("{s:s, s:s, s:I}", "qom-type", "memory-backend-ram", "id",
					  "m", "size", size),
				err);
	return add_json(args, "-object",
			json_pack("{s:s, s:s, s:I, s:o, s:b}", "qom-type", "memory-backend-file",
				  "id", "m", "size", size, "mem-path",
				  json_sprintf(QEMU_FD_PATH, QEMU_FD_MEMORY), "share",
				  c->memory == VMM_MEMORY_CAPTURE),
			err);
}

static json_t *drive_path(size_t index)
{
	return json_sprintf(QEMU_FD_PATH, QEMU_FD_DRIVES + (int)index);
}

/* No locks: a VMM that only reads the shared image can lock it too, and keep all others from it.
 * mvm itself sees to it that a disk has one user. */
static json_t *file_json(size_t index)
{
	return json_pack("{s:s, s:o, s:s}", "driver", "file", "filename", drive_path(index),
			 "locking", "off");
}

/* A VM's own disk need not survive a crash of the host, as nothing of the instance does.  So the
 * guest's flushes need not reach the host's disk.  Blocks that the guest discards become holes. */
static json_t *own_drive_json(size_t index)
{
	return json_pack("{s:s, s:o, s:s, s:s, s:{s:b}}", "driver", "file", "filename",
			 drive_path(index), "locking", "off", "discard", "unmap", "cache",
			 "no-flush", 1);
}

static int add_drive(struct strv *args, const struct vmm_drive *drive, size_t index,
		     struct mvm_error *err)
{
	if (!drive->own)
		return add_json(args, "-blockdev",
				json_pack("{s:s, s:o, s:b, s:o}", "driver", "raw", "node-name",
					  json_sprintf("drive%zu", index), "read-only",
					  drive->read_only, "file", file_json(index)),
				err);
	return add_json(args, "-blockdev",
			json_pack("{s:s, s:o, s:b, s:s, s:{s:b}, s:o}", "driver", "raw",
				  "node-name", json_sprintf("drive%zu", index), "read-only",
				  drive->read_only, "discard", "unmap", "cache", "no-flush", 1,
				  "file", own_drive_json(index)),
			err);
}

/* Frames go to mvm-net, which holds the other end. */
static int add_netdev(struct strv *args, struct mvm_error *err)
{
	return add_json(args, "-netdev",
			json_pack("{s:s, s:s, s:o}", "type", "socket", "id", QEMU_NETDEV, "fd",
				  json_sprintf("%d", QEMU_FD_NET)),
			err);
}

/*
 * The guest's devices, in the order of their slots on the bus.  Nothing here may depend on the
 * host: a clone's devices must be those of the machine that was captured.
 */
static int add_devices(struct strv *args, const struct vmm_config *c, struct mvm_error *err)
{
	int r = 0;
	for (size_t i = 0; i < c->n_drives && r == 0; i++)
		r = add_json(args, "-device",
			     json_pack("{s:s, s:o}", "driver", "virtio-blk-device", "drive",
				       json_sprintf("drive%zu", i)),
			     err);
	/* A clone's card has not moved to another switch: its only peer is mvm-net, which asks for
	 * the guest's address by ARP.  So the guest need not announce it, which took a tenth of the
	 * new code that a clone's first command runs under TCG. */
	if (r == 0 && c->network)
		r = add_json(args, "-device",
			     json_pack("{s:s, s:s, s:s, s:i, s:b}", "driver", "virtio-net-device",
				       "netdev", QEMU_NETDEV, "mac", "52:54:00:6d:76:6d",
				       "host_mtu", LINK_MTU, "guest_announce", 0),
			     err);
	if (r == 0)
		r = add_json(args, "-device",
			     json_pack("{s:s, s:s}", "driver", "virtio-rng-device", "rng", "rng0"),
			     err);
	if (r == 0)
		r = add_json(args, "-device",
			     json_pack("{s:s, s:s, s:i}", "driver", "virtio-serial-device", "id",
				       "serial0", "max_ports", 2),
			     err);
	if (r == 0)
		r = add_json(args, "-device",
			     json_pack("{s:s, s:s, s:s, s:s}", "driver", "virtserialport", "bus",
				       "serial0.0", "chardev", "agent", "name", "dev.mvm.agent"),
			     err);
	return r;
}

int qemu_device_layout(const struct vmm_config *c, char **ret, struct mvm_error *err)
{
	AUTO_DONE(strv) devices = { 0 };
	int r = add_devices(&devices, c, err);
	if (r < 0)
		return r;
	AUTO_DONE(strbuf) text = { 0 };
	for (size_t i = 1; !devices.failed && i < devices.n; i += 2)
		strbuf_addf(&text, "%s%s", i > 1 ? " " : "", devices.v[i]);
	for (size_t i = 0; i < c->n_drives; i++)
		strbuf_addf(&text, " drive%zu:%s", i, c->drives[i].read_only ? "ro" : "rw");
	char *layout = text.failed || devices.failed ? NULL : strbuf_take(&text);
	if (!layout)
		return mvm_error_oom(err);
	*ret = layout;
	return 0;
}

/* -name reads options: a comma in the value is written twice. */
static void add_name(struct strv *args, const char *name)
{
	AUTO_DONE(strbuf) text = { 0 };
	strbuf_adds(&text, "guest=");
	for (const char *p = name; *p; p++)
		strbuf_adds(&text, (char[]){ *p, *p == ',' ? ',' : '\0', '\0' });
	strv_add(args, "-name");
	if (text.failed)
		args->failed = true;
	else
		strv_add(args, text.data);
}

static void add_machine(struct strv *args, const struct vmm_probe *probe,
			const struct vmm_config *c)
{
	bool kvm = probe->accel == VMM_ACCEL_KVM;
	strv_add(args, "-M");
	strv_addf(args, "%s,memory-backend=m", qemu_machine(probe->accel));
	strv_add(args, "-accel");
	strv_add(args, kvm ? "kvm" : "tcg,tb-size=64");
	strv_add(args, "-cpu");
	strv_add(args, kvm ? "host" : QEMU_CPU_TCG);
	strv_add(args, "-smp");
	strv_addf(args, "%u", c->vcpus);
	static const char *const fixed[] = {
		"-nodefaults",
		"-no-user-config",
		"-display",
		"none",
		"-no-reboot",
		"-S",
		"-sandbox",
		"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		/* so that a clone runs when we say so, not because the captured machine ran */
		"-global",
		"migration.store-global-state=off",
		/* after a load QEMU itself would announce the card five times within two seconds.
		 * Not 0: QEMU 7.2 gives a timer of the card up then, which a guest that may
		 * announce it and powers itself off needs (it ended QEMU by SIGSEGV) */
		"-global",
		"migration.announce-rounds=1",
		/* a guest is told that a write has failed; by default a full disk of the host would
		 * stop the VM, and nobody would know why it does not answer */
		"-global",
		"virtio-blk-device.werror=report",
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(fixed); i++)
		strv_add(args, fixed[i]);
}

static void add_channels(struct strv *args)
{
	static const struct {
		const char *name;
		int fd;
	} channels[] = {
		{ "qmp", QEMU_FD_QMP },
		{ "agent", QEMU_FD_AGENT },
		{ "console", QEMU_FD_CONSOLE },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(channels); i++) {
		strv_add(args, "-chardev");
		strv_addf(args, "socket,id=%s,fd=%d", channels[i].name, channels[i].fd);
	}
	strv_add(args, "-mon");
	strv_add(args, "chardev=qmp,mode=control");
	strv_add(args, "-serial");
	strv_add(args, "chardev:console");
}

/* A clone's kernel is in its memory already. */
static void add_kernel(struct strv *args, const struct vmm_config *c)
{
	if (c->memory == VMM_MEMORY_CLONE) {
		strv_add(args, "-incoming");
		strv_add(args, "defer");
		return;
	}
	strv_add(args, "-kernel");
	strv_addf(args, QEMU_FD_PATH, QEMU_FD_KERNEL);
	if (c->initrd) {
		strv_add(args, "-initrd");
		strv_addf(args, QEMU_FD_PATH, QEMU_FD_INITRD);
	}
	strv_add(args, "-append");
	strv_add(args, c->cmdline);
}

int qemu_args(const struct vmm_probe *probe, const struct vmm_config *c, struct strv *ret,
	      struct mvm_error *err)
{
	AUTO_DONE(strv) args = { 0 };
	strv_add(&args, probe->binary);
	add_name(&args, c->name);
	add_machine(&args, probe, c);
	int r = add_memory(&args, c, err);
	add_channels(&args);
	for (size_t i = 0; i < c->n_drives && r == 0; i++)
		r = add_drive(&args, &c->drives[i], i, err);
	if (r == 0 && c->network)
		r = add_netdev(&args, err);
	if (r == 0)
		r = add_json(&args, "-object",
			     json_pack("{s:s, s:s}", "qom-type", "rng-builtin", "id", "rng0"), err);
	if (r == 0)
		r = add_devices(&args, c, err);
	if (r < 0)
		return r;
	add_kernel(&args, c);
	if (args.failed)
		return mvm_error_oom(err);
	*ret = args;
	args = (struct strv){ 0 };
	return 0;
}

int qemu_cmdline(const struct vmm_probe *probe, const struct vmm_config *c, const char *additions,
		 char **ret, struct mvm_error *err)
{
	AUTO_DONE(strbuf) line = { 0 };
	/* a panic ends the VM at once, and so does a reboot: QEMU runs with -no-reboot */
	strbuf_adds(&line, "console=ttyS0 panic=-1 reboot=t");
	if (probe->accel == VMM_ACCEL_TCG)
		/* TCG shows the guest the host's TSC, but no reliable clock to calibrate it on or
		 * to check it with.  On a busy host ticks are lost.  The kernel then blamed the TSC
		 * and counted the remaining ticks instead, 2 to 7 % too slow */
		strbuf_addf(&line, " no_timer_check tsc_early_khz=%u tsc=reliable lpj=4000000",
			    probe->tsc_khz);
	return cmdline_finish(&line, c, additions, ret, err);
}
