// The words of the page itself, Thai first, English second. What the shop and its customers say
// is never translated here.

const WORDS = {
  "page.title": ["โทรศัพท์จำลอง · แต้ม", "Phone · Taem"],
  "page.brand": ["แต้ม", "Taem"],
  "page.tagline": ["โทรศัพท์จำลอง", "Stand-in phone"],
  "page.language": ["English", "ไทย"],
  "page.customers": ["ลูกค้า", "Customers"],
  "page.controls": ["แผงควบคุม", "Controls"],
  "page.close": ["ปิด", "Close"],
  "page.cancel": ["ยกเลิก", "Cancel"],
  "link.lost": ["ขาดการเชื่อมต่อ กำลังลองใหม่…", "Connection lost, trying again…"],
  "trouble.unreachable": [
    "ติดต่อโปรแกรมจำลองไม่ได้ ดูว่ายังเปิดอยู่หรือไม่",
    "The simulator does not answer. Is it still running?",
  ],
  "trouble.answered": ["ทำรายการไม่สำเร็จ ({status}): {reason}", "That did not work ({status}): {reason}"],
  "trouble.status": ["ทำรายการไม่สำเร็จ (รหัส {status})", "That did not work (status {status})"],

  "customer.add": ["เพิ่มลูกค้า", "Add a customer"],
  "customer.name": ["ชื่อที่แสดง", "Display name"],
  "customer.new_name": ["ชื่อลูกค้าใหม่", "New customer's name"],
  "customer.language": ["ภาษาของเครื่อง", "Phone language"],
  "customer.save": ["บันทึก", "Save"],
  "customer.create": ["เพิ่ม", "Add"],
  "customer.saved": ["บันทึกแล้ว", "Saved"],
  "customer.edit": ["แก้ไขลูกค้า", "Edit customer"],
  "customer.friend": ["เป็นเพื่อนแล้ว", "Friend"],
  "customer.stranger": ["ยังไม่เป็นเพื่อน", "Not a friend yet"],
  "customer.blocked": ["บล็อกร้านอยู่", "Has blocked the shop"],
  "customer.unread": ["ยังไม่ได้อ่าน {count} ข้อความ", "{count} unread"],
  "customer.follow": ["เพิ่มเพื่อน", "Add friend"],
  "customer.block": ["บล็อกร้านนี้", "Block this shop"],
  "customer.unblock": ["เลิกบล็อก", "Unblock"],
  "customer.none": ["ยังไม่มีลูกค้า เพิ่มคนแรกได้เลย", "No customers yet. Add the first one."],
  "customer.user_id": ["รหัสผู้ใช้", "User id"],
  "language.th": ["ไทย", "Thai"],
  "language.en": ["อังกฤษ", "English"],

  "chat.label": ["ห้องแชท", "Chat"],
  "chat.account": ["บัญชีทางการ", "Official account"],
  "chat.today": ["วันนี้", "Today"],
  "chat.yesterday": ["เมื่อวาน", "Yesterday"],
  "chat.newer": ["ข้อความใหม่", "New message"],
  "chat.options": ["ตัวเลือกของแชท", "Chat options"],
  "chat.typing": ["ร้านกำลังเตรียมคำตอบ", "The shop is preparing an answer"],
  "chat.stranger": [
    "{shop} ยังไม่อยู่ในรายชื่อเพื่อน เพิ่มเพื่อนเพื่อเริ่มคุย",
    "{shop} is not in the friend list. Add it to start chatting.",
  ],
  "chat.blocked": ["บล็อก {shop} อยู่ จึงไม่ได้รับข้อความ", "{shop} is blocked, so no messages arrive."],
  "chat.empty": ["ยังไม่มีข้อความ", "No messages yet"],


  "message.sticker": ["สติกเกอร์ {package}/{sticker}", "Sticker {package}/{sticker}"],
  "message.picture": ["รูปภาพ", "Picture"],
  "message.enlarge": ["ดูรูปใหญ่", "Enlarge picture"],
  "message.video": ["วิดีโอ", "Video"],
  "message.audio": ["ข้อความเสียง", "Voice message"],
  "message.location": ["ตำแหน่งที่ตั้ง", "Location"],
  "message.file": ["ไฟล์", "File"],
  "message.coupon": ["คูปองของ LINE", "LINE coupon"],
  "message.unknown": ["ข้อความชนิด {kind} (แสดงไม่ได้)", "A {kind} message (cannot be shown)"],
  "message.from": ["{name} จาก {shop}", "{name} from {shop}"],

  "input.placeholder": ["พิมพ์ข้อความ", "Type a message"],
  "input.send": ["ส่ง", "Send"],
  "input.sticker": ["ส่งสติกเกอร์", "Send a sticker"],
  "input.picture": ["ส่งรูป", "Send a picture"],
  "input.location": ["ส่งตำแหน่ง", "Send a location"],
  "quick.label": ["ตอบด่วน", "Quick replies"],
  "menu.open": ["เปิดเมนู {name}", "Open the {name} menu"],
  "menu.close": ["ปิดเมนู {name}", "Close the {name} menu"],
  "menu.area": ["ช่องที่ {number} ของเมนู", "Menu area {number}"],

  "sheet.sticker": ["เลือกสติกเกอร์", "Choose a sticker"],
  "sheet.date": ["เลือกวันที่", "Choose a date"],
  "sheet.time": ["เลือกเวลา", "Choose a time"],
  "sheet.datetime": ["เลือกวันและเวลา", "Choose a date and time"],
  "sheet.picture": ["รูปภาพ", "Picture"],
  "sheet.send": ["ส่ง", "Send"],
  "web.new_tab": ["เปิดในแท็บใหม่", "Open in a new tab"],
  "web.outside": [
    "ลิงก์นี้ไปเว็บข้างนอก จึงเปิดในแท็บใหม่",
    "This link leads outside, so it opens in a new tab.",
  ],
  "web.call": ["โทรศัพท์จำลองโทรออกไม่ได้: {number}", "The stand-in phone cannot call {number}."],
  "web.refused": ["ลิงก์แบบนี้เปิดไม่ได้: {uri}", "This kind of link cannot be opened: {uri}"],
  "web.copied": ["คัดลอกแล้ว: {text}", "Copied: {text}"],
  "web.copy_failed": ["คัดลอกไม่ได้ ข้อความคือ {text}", "Could not copy. The text is {text}"],
  "web.already_friend": ["เป็นเพื่อนกับร้านนี้อยู่แล้ว", "Already a friend of this shop."],
  "web.unsupported": ["โทรศัพท์จำลองทำสิ่งนี้ไม่ได้", "The stand-in phone cannot do this."],

  "doors.title": ["หลังร้าน", "Behind the counter"],
  "doors.cashier": ["หน้าแคชเชียร์", "Cashier page"],
  "doors.cashier_note": ["ให้แต้ม ใช้คูปอง สแกน QR", "Give points, redeem coupons, scan QR"],
  "doors.console": ["หน้าผู้ดูแล", "Console"],
  "doors.console_note": ["สมาชิก ข้อความ เมนู รายงาน", "Members, messages, menus, reports"],
  "clock.title": ["เลื่อนเวลาของร้าน", "Move the shop's clock"],
  "clock.note": [
    "ร้านจะข้ามเวลาไปข้างหน้า และทำงานที่ถึงกำหนดทุกอย่าง เช่น อวยพรวันเกิด แต้มหมดอายุ ตามลูกค้าที่หายไป",
    "The shop jumps ahead and does everything that fell due: birthday wishes, expiring points, winning customers back.",
  ],
  "clock.+1h": ["+1 ชั่วโมง", "+1 hour"],
  "clock.+1d": ["+1 วัน", "+1 day"],
  "clock.+7d": ["+7 วัน", "+7 days"],
  "clock.+30d": ["+30 วัน", "+30 days"],
  "clock.+60d": ["+60 วัน", "+60 days"],
  "clock.+1y": ["+1 ปี", "+1 year"],
  "clock.walking": ["ผ่านไป {done} จาก {days} วัน… {seconds} วินาที", "{done} of {days} days… {seconds} s"],
  "clock.stop": ["หยุดตรงนี้", "Stop here"],
  "clock.stopping": ["กำลังหยุด…", "Stopping…"],
  "clock.stopped": ["หยุดเมื่อเลื่อนไปได้ {done} จาก {days} วัน", "Stopped after {done} of {days} days"],
  "clock.running": ["กำลังเลื่อนเวลา… {seconds} วินาที", "Moving the clock… {seconds} s"],
  "clock.done": ["เลื่อนเวลาแล้ว", "Clock moved"],
  "clock.now": ["ตอนนี้ในร้านคือ {moment}", "In the shop it is now {moment}"],
  "clock.stops": ["ทำงานที่ถึงกำหนดระหว่างทาง {count} รอบ", "Rounds of due work on the way: {count}"],
  "clock.sent": ["ร้านส่งข้อความถึงลูกค้า {count} ครั้ง", "Messages the shop sent meanwhile: {count}"],
  "clock.silent": ["ร้านไม่ได้ส่งข้อความระหว่างนี้", "The shop sent no messages meanwhile."],
  "webhook.title": ["เหตุการณ์ที่ส่งให้ร้าน", "Events for the shop"],
  "webhook.pending": ["กำลังส่ง {count} รายการ", "{count} on the way"],
  "webhook.given_up": ["ส่งไม่สำเร็จ {count} รายการ", "{count} given up"],
  "webhook.none": ["ส่งถึงครบแล้ว", "Everything was delivered"],
  "webhook.last": ["ส่งอันล่าสุดซ้ำ", "Repeat the last one"],
  "webhook.undelivered": ["ส่งที่พลาดอีกครั้ง", "Retry the lost ones"],
  "webhook.sent": ["ส่งซ้ำแล้ว {count} รายการ", "Sent again: {count}"],
  "quota.title": ["โควตาข้อความเดือนนี้", "Message quota this month"],
  "quota.used": ["ใช้ไป {used} จาก {value}", "{used} of {value} used"],
  "quota.unlimited": ["ใช้ไป {used} (ไม่จำกัด)", "{used} used (no limit)"],
  "faults.title": ["จำลองปัญหา", "Make trouble"],
  "faults.note": [
    "เปิดเพื่อดูว่าร้านรับมืออย่างไรเมื่อ LINE ขัดข้อง",
    "Switch one on to see how the shop copes when LINE misbehaves.",
  ],
  "faults.clear": ["ปิดทั้งหมด", "All off"],
  "faults.on": ["เปิดอยู่ {count} อย่าง", "{count} on"],
  "faults.other": ["อื่นๆ", "Other"],
  "faults.unset": ["ปิด", "off"],
  "settings.title": ["ตั้งค่าหน้านี้", "This page"],
  "settings.new_tab": ["เปิดลิงก์ในแท็บใหม่เสมอ", "Always open links in a new tab"],
  "settings.reset": ["ล้างทุกแชทและเริ่มใหม่", "Clear every chat and start over"],
  "settings.reset_sure": [
    "แชทและลูกค้าในโทรศัพท์จำลองจะหายไปทั้งหมด ล้างเลยไหม?",
    "All chats and customers of the stand-in phone will be gone. Clear them?",
  ],
  "settings.reset_go": ["ล้างเลย", "Clear them"],
  "settings.reset_done": ["เริ่มใหม่แล้ว", "Started over"],
};

const KEY = "taem-phone-language";
let language = remembered();

function remembered() {
  try {
    return localStorage.getItem(KEY) === "en" ? "en" : "th";
  } catch {
    return "th";
  }
}

export const currentLanguage = () => language;
export const hasWord = (key) => key in WORDS;

export function addWords(more) {
  Object.assign(WORDS, more);
}

export function setLanguage(next) {
  language = next;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // Private windows may forbid storage; the choice then lasts as long as the page.
  }
}

export function t(key, facts = {}) {
  const pair = WORDS[key];
  if (!pair) throw new Error(`no words for ${key}`);
  const text = pair[language === "en" ? 1 : 0];
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in facts ? String(facts[name]) : whole));
}

// Fills the page's fixed texts: data-word is the content, data-word-label the accessible name,
// data-word-placeholder the hint of an input.
export function fillWords(root = document) {
  document.documentElement.lang = language;
  document.title = t("page.title");
  for (const node of root.querySelectorAll("[data-word]")) node.textContent = t(node.dataset.word);
  for (const node of root.querySelectorAll("[data-word-label]")) {
    node.setAttribute("aria-label", t(node.dataset.wordLabel));
    node.title = t(node.dataset.wordLabel);
  }
  for (const node of root.querySelectorAll("[data-word-placeholder]")) {
    node.placeholder = t(node.dataset.wordPlaceholder);
  }
}
