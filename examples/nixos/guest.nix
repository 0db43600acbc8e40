# What every guest has.  mvm's initramfs has mounted the root (an overlay over the read-only image),
# configured the network and keeps its agent running beside systemd.
{ modulesPath, ... }:
{
  imports = [ "${modulesPath}/profiles/minimal.nix" ];

  # no boot loader and no initrd of NixOS: mvm brings both
  boot.loader.grub.enable = false;
  boot.initrd.enable = false;
  fileSystems."/" = {
    device = "overlay";
    fsType = "overlay";
    noCheck = true;
  };

  # eth0 and /etc/resolv.conf are the agent's
  networking.hostName = ""; # every clone gets a name of its own
  networking.useDHCP = false;
  networking.resolvconf.enable = false;
  networking.firewall.enable = false;

  # nobody logs in: `mvm exec` needs no password and no ssh
  services.getty.autologinUser = "root";
  users.allowNoPasswordLogin = true;

  nix.enable = false;
  documentation.enable = false;
  system.stateVersion = "24.11";
}
