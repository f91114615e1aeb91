import Testing

@testable import RootFS

@Suite("ACLs")
struct AccessControlListTests {
    private static let binary: [UInt8] =
        [2, 0, 0, 0]
        + [0x01, 0, 7, 0, 0xFF, 0xFF, 0xFF, 0xFF]
        + [0x02, 0, 5, 0, 0xF6, 0x01, 0, 0]
        + [0x04, 0, 5, 0, 0xFF, 0xFF, 0xFF, 0xFF]
        + [0x08, 0, 4, 0, 0x10, 0x27, 0, 0]
        + [0x10, 0, 7, 0, 0xFF, 0xFF, 0xFF, 0xFF]
        + [0x20, 0, 4, 0, 0xFF, 0xFF, 0xFF, 0xFF]

    @Test(
        "the texts of star, GNU tar and libarchive are the same list",
        arguments: [
            "user::rwx,user:lisa:r-x:502,group::r-x,group:toolies:r--:10000,mask::rwx,other::r--",
            "user::rwx\nuser:502:r-x\ngroup::r-x\ngroup:10000:r--\nmask::rwx\nother::r--\n",
            "other:r--,mask:rwx,group:10000:r,g::rx,u:502:rx # comment\nu::rwx",
            "default:user::rwx,default:user:502:r-x,default:group::r-x,d:g:10000:r--,default:mask::rwx,default:other::r--",
        ])
    func texts(text: String) {
        #expect(AccessControlList(text: Array(text.utf8))?.binary == Self.binary)
    }

    @Test(
        "a list that names nobody's number, or breaks the rules, is none",
        arguments: [
            "", "user::rwx", "user::rwx,user:lisa:r-x,group::r-x,mask::rwx,other::r--",
            "user::rwx,user:5:r-x,group::r-x,other::r--", "user::rwx,user::rwx,group::r-x,other::r--",
            "user::rwq,group::r-x,other::r--", "user:4294967295:rwx,user::rwx,group::r-x,mask::r,other::r--",
            "owner@:rwx:allow", "user::rwx,group::r-x,other::r--,user:1:r,user:1:w,mask::r",
        ])
    func badTexts(text: String) {
        #expect(AccessControlList(text: Array(text.utf8)) == nil)
    }

    @Test("the kernel's binary form is read and written")
    func binaryForm() {
        #expect(AccessControlList(binary: Self.binary)?.binary == Self.binary)
        #expect(AccessControlList(binary: Array(Self.binary.dropLast())) == nil)
        #expect(AccessControlList(binary: [3] + Self.binary.dropFirst()) == nil)
        #expect(AccessControlList(binary: []) == nil)
    }
}
