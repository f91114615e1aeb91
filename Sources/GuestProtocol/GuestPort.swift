/// Names on which host and guest agree beyond the messages.
package enum GuestPort {
    /// Of the virtio-serial port.
    package static let name = "snapwf.agent"
    /// In the initramfs: paths of kernel modules below `/modules`, one a line, in the order in which they are loaded. No
    /// dependency is looked up in the guest.
    package static let moduleOrder = "/modules/order"
    /// The line on the console by which the agent says that it ends because it cannot go on.
    package static let lastWords = "snapwf-agent: cannot go on: "
}
